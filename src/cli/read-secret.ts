import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import type { ReadStream, WriteStream } from 'node:tty'

const longestSecret = 1_024

/**
 * A secret that is typed, or piped in. At a terminal the prompt is shown and what is typed is not; otherwise the first
 * line is taken, and a missing one is the empty text. Interrupting ends the process, as everywhere.
 */
export async function readSecret(prompt: string, input: ReadStream, output: WriteStream): Promise<string> {
  if (!input.isTTY) return firstLine(input)
  output.write(prompt)
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input, output: silent, terminal: true })
  try {
    return await new Promise<string>((resolve) => {
      lines.once('line', resolve)
      lines.once('close', () => resolve(''))
      lines.once('SIGINT', () => process.kill(process.pid, 'SIGINT'))
    })
  } finally {
    lines.close()
    output.write('\n')
  }
}

async function firstLine(input: ReadStream): Promise<string> {
  let text = ''
  for await (const chunk of input) {
    text += String(chunk)
    if (text.includes('\n') || text.length > longestSecret) break
  }
  return text.split(/\r?\n/, 1)[0]!
}
