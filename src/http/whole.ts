import type { ServerResponse } from 'node:http'

/** Bytes of content up to which it goes out as one string together with the head: one write, no list of buffers. */
export const oneString = 12_288

/** End a response whose head is set with all of its content. */
export function endWith(res: ServerResponse, content: Buffer | undefined): void {
  if (content === undefined) res.end()
  else if (content.length <= oneString) res.end(content.toString('latin1'), 'latin1')
  else res.end(content)
}
