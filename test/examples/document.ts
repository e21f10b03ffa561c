import assert from 'node:assert/strict'
import { Ajv } from 'ajv'
import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'

interface Document {
  readonly openapi: string
  readonly paths: Readonly<
    Record<string, Readonly<Record<string, { readonly responses?: Readonly<Record<string, unknown>> }>>>
  >
}

/** Asserts that answers are what an OpenAPI document says: `fits('get', '/{orderId}', response)`. Hands back the body. */
export function createFit(document: Document) {
  const options = { strict: false, allErrors: true }
  const ajv = document.openapi.startsWith('3.0') ? new Ajv(options) : new Ajv2020(options)
  formats.default(ajv)
  ajv.addSchema(document, 'document')

  return async function fits(method: string, path: string, response: Response): Promise<unknown> {
    const text = await response.text()
    const operation = document.paths[path]?.[method]
    assert.ok(operation, `${method} ${path} is documented`)
    const answer = operation.responses?.[response.status] as { $ref?: string; content?: object } | undefined
    assert.ok(answer, `${method} ${path} documents ${response.status}: ${text}`)
    const pointer = answer.$ref ?? `#/paths/${member(path)}/${method}/responses/${response.status}`
    const content = (ajv.getSchema(`document${pointer}`)?.schema as { content?: Record<string, unknown> } | undefined)
      ?.content
    if (!content) {
      assert.equal(text, '')
      return undefined
    }
    const type = (response.headers.get('content-type') ?? '').split(';')[0]!
    assert.ok(content[type], `${method} ${path} documents ${type}`)
    const body: unknown = type === 'application/json' ? JSON.parse(text) : text
    const check = ajv.compile({ $ref: `document${pointer}/content/${member(type)}/schema` })
    assert.ok(check(body), `${method} ${path} ${response.status}: ${ajv.errorsText(check.errors)}`)
    return body
  }
}

/** RFC 6901, within a URI fragment. */
function member(name: string): string {
  return encodeURIComponent(name.replaceAll('~', '~0').replaceAll('/', '~1'))
}
