import type { Finding } from '../openapi/document.ts'

/** `orders:12:5 warning: …`, as compilers write it: the service, the line and the column of its document. `from` is where that is. */
export function formatFinding(
  { service, severity, code, message, line, column, pointer }: Finding,
  from?: string,
): string {
  const place = line === undefined ? '' : `:${line}:${column}`
  const where = pointer === undefined ? '' : `, at ${pointer}`
  const document = from === undefined ? service : `${service}: ${from}`
  return `${document}${place} ${severity}: ${message} (${code}${where})`
}
