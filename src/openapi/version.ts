import type { JsonObject } from './document.ts'
import { own } from './plain.ts'

/** The versions that are understood, as families. */
export type Version = '2.0' | '3.0' | '3.1' | '3.2'

export type Recognised =
  | { readonly outcome: 'known'; readonly version: Version; readonly remark?: string }
  | { readonly outcome: 'unknown'; readonly reason: string }

/**
 * Which specification a document follows. Missing patch numbers are forgiven with a remark; everything that would
 * have to be guessed is refused, because a document passed through unread is published unread.
 */
export function recognise(document: JsonObject): Recognised {
  const openapi = own(document, 'openapi')
  const swagger = own(document, 'swagger')
  if (openapi !== undefined) {
    if (typeof openapi !== 'string') {
      return unknown(
        `"openapi" is ${describe(openapi)}; it must be a string such as "3.1.0" (in YAML, put it in quotes)`,
      )
    }
    const [, version, patch] = /^(3\.[012])(\.\d+(?:-[\w.]+)?)?$/.exec(openapi) ?? []
    if (version === undefined) return unknown(`OpenAPI ${quote(openapi)} is not supported; 2.0, 3.0, 3.1 and 3.2 are`)
    const remark = patch === undefined ? { remark: `"openapi" should be "${version}.0", not "${openapi}"` } : {}
    return { outcome: 'known', version: version as Version, ...remark }
  }
  if (swagger !== undefined) {
    if (swagger === '2.0') return { outcome: 'known', version: '2.0' }
    // Unquoted in YAML it is a number, and there is no other 2.
    if (swagger === 2) return { outcome: 'known', version: '2.0', remark: '"swagger" should be the string "2.0"' }
    return unknown(`Swagger ${quote(String(swagger))} is not supported; "2.0" is`)
  }
  if (own(document, 'swaggerVersion') !== undefined) return unknown('Swagger 1.x is not supported; 2.0 and later are')
  return unknown('this is not an OpenAPI document: it has neither "openapi" nor "swagger"')
}

const unknown = (reason: string) => ({ outcome: 'unknown', reason }) as const
const quote = (text: string): string => JSON.stringify(text.slice(0, 40))
const describe = (value: unknown): string => (typeof value === 'number' ? `the number ${value}` : 'not text')
