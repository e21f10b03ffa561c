import { withoutParameters } from '../http/query.ts'
import type { CopiedHead } from '../upstream/mirror.ts'

/** The head of a copy, from that of the request; the first `before` header lines were there before the credential. */
export type CopyHead = (head: CopiedHead, before: number) => CopiedHead

/** What carries a credential whoever reads it (RFC 9110 §11, RFC 6265). */
const always = ['authorization', 'proxy-authorization', 'cookie']

/**
 * A copy goes to something that is tried out, so it carries nothing with which one could act for the caller or the
 * gateway: no credential, in whatever field or parameter one is taken here, and nothing that services.json adds, which
 * may be one.
 */
export function createCopyHead(
  credentials: boolean,
  fieldNames: readonly string[],
  parameters: ReadonlySet<string>,
): CopyHead {
  if (credentials) return (head) => head
  const withheld = new Set([...always, ...fieldNames.map((name) => name.toLowerCase())])
  return function withoutCredentials({ fields, target }, before) {
    const kept: string[] = []
    for (let index = 0; index < before; index += 2) {
      if (!withheld.has(fields[index]!.toLowerCase())) kept.push(fields[index]!, fields[index + 1]!)
    }
    return { fields: kept, target: withoutCredentialParameters(target, parameters) }
  }
}

function withoutCredentialParameters(target: string, parameters: ReadonlySet<string>): string {
  const mark = target.indexOf('?')
  if (mark < 0 || parameters.size === 0) return target
  const query = withoutParameters(target.slice(mark + 1), parameters)
  return query === '' ? target.slice(0, mark) : `${target.slice(0, mark)}?${query}`
}
