import { createRequire } from 'node:module'
import { dereferenced } from '../../openapi/arrange.ts'
import type { JsonObject } from '../../openapi/document.ts'
import { isObject, items, own } from '../../openapi/plain.ts'

/** A request as it leaves the documentation page. */
export interface PageRequest {
  readonly method: string
  /** Absolute. */
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | undefined
}

/** One operation of a published document, as somebody finds it on the page. */
export interface PageOperation {
  readonly document: JsonObject
  readonly path: string
  readonly method: string
  /** Values for path variables whose meaning is known here. */
  readonly known?: Readonly<Record<string, string>>
}

/** What has been entered in the Authorize dialog: by the name of the scheme, the text of the credential. */
export type Authorized = Readonly<Record<string, string>>

export type BuildRequest = (operation: PageOperation, authorized: Authorized) => PageRequest

/** The parts of swagger-client that are used here. */
interface Client {
  buildRequest(options: object): {
    readonly url: string
    readonly method: string
    readonly headers: Readonly<Record<string, string>>
    readonly body?: unknown
  }
}

/**
 * The request builder of swagger-client, taken from the bundle that the documentation page itself loads: the very code
 * that builds the requests of "Execute", without a browser. It reads documents whose parameters are written out, which
 * is what the page hands it.
 */
export function loadRequestBuilder(): BuildRequest {
  const bundle = createRequire(import.meta.url)('swagger-ui-dist/swagger-ui-bundle.js')
  const { buildRequest }: Client = bundle.plugins.SwaggerClient({ configs: {} }).fn

  return function build({ document, path, method, known = {} }, authorized) {
    const item = own(document.paths as JsonObject, path) as JsonObject
    const operation = own(item, method) as JsonObject
    const parameters = items(operation.parameters).flatMap((entry): JsonObject[] => {
      const parameter = resolved(document, entry)
      return parameter ? [parameter] : []
    })
    const components = (document.components ?? {}) as JsonObject
    const schemes = (components.securitySchemes ?? {}) as JsonObject
    const media = mediaTypeOf(document, operation.requestBody)
    const { requestBody, ...rest } = operation
    // Only what the builder reads: to give it thousands of operations each time would cost minutes.
    const spec = {
      openapi: document.openapi,
      servers: document.servers,
      ...(document.security !== undefined && { security: document.security }),
      components: { securitySchemes: schemes },
      paths: {
        [path]: { [method]: { ...rest, parameters, ...(media !== undefined && { requestBody: { content: media } }) } },
      },
    }
    const built = buildRequest({
      spec,
      operationId: operation.operationId,
      pathName: path,
      method,
      contextUrl: (items(document.servers)[0] as JsonObject).url,
      parameters: Object.fromEntries(
        parameters
          .filter(({ in: place, required }) => place === 'path' || required === true)
          .map((parameter) => [
            `${parameter.in}.${parameter.name}`,
            known[String(parameter.name)] ?? sampleFor(document, parameter),
          ]),
      ),
      ...(media !== undefined && { requestBody: {}, requestContentType: Object.keys(media)[0] }),
      securities: {
        definitions: schemes,
        authorized: Object.fromEntries(
          Object.entries(authorized).map(([name, text]) => [name, entered(name, own(schemes, name), text)]),
        ),
      },
    })
    const { body } = built
    return {
      method: built.method,
      url: built.url,
      headers: built.headers,
      // The page turns an object into text when it sends it.
      body: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body),
    }
  }
}

/** What the dialog keeps: a token that an issuer gave, or what was typed in. */
function entered(name: string, scheme: unknown, text: string): object {
  const { type } = isObject(scheme) ? scheme : {}
  if (type === 'oauth2' || type === 'openIdConnect') return { name, schema: scheme, token: tokenAnswer(text) }
  return { name, schema: scheme, value: text }
}

const tokenAnswer = (text: string) => ({ access_token: text, token_type: 'Bearer' })

/** The media type that the page offers first, where it is JSON: other forms need a file or a form filled in. */
function mediaTypeOf(document: JsonObject, requestBody: unknown): JsonObject | undefined {
  const content = resolved(document, requestBody)?.content
  if (!isObject(content)) return undefined
  const [first] = Object.keys(content)
  return first !== undefined && /^application\/(?:[\w.+-]+\+)?json\b/i.test(first) ? { [first]: {} } : undefined
}

/** Something that fits the parameter and is nobody's name: a value such as "me" may be another operation's path. */
function sampleFor(document: JsonObject, parameter: JsonObject): unknown {
  const schema = resolved(document, parameter.schema) ?? {}
  const { enum: values, format, default: usual } = schema
  const [type] = [schema.type].flat().filter((one) => one !== 'null')
  if (Array.isArray(values) && values.length > 0) return values[0]
  if (typeof usual === 'string' || typeof usual === 'number') return usual
  if (type === 'integer' || type === 'number') return typeof schema.minimum === 'number' ? schema.minimum : 1
  if (type === 'boolean') return true
  if (type === 'array') return ['verified']
  if (type === 'object') return { verified: 'yes' }
  if (format === 'uuid') return '00000000-0000-4000-8000-000000000000'
  if (format === 'date') return '2000-01-01'
  if (format === 'date-time') return '2000-01-01T00:00:00Z'
  return 'verified'
}

const resolved = (document: JsonObject, node: unknown) => dereferenced(node, document.components)
