import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { brotliCompress, brotliCompressSync, constants, gzip, gzipSync } from 'node:zlib'
import { dump } from 'js-yaml'
import type { JsonObject } from './document.ts'
import { isObject } from './plain.ts'

/** Bytes made once and sent many times. */
export interface Representation {
  /** The value of `Content-Type`. */
  readonly type: string
  readonly body: Buffer
  /** The same in the content codings of RFC 9110 §8.4.1. */
  readonly gzip: Buffer
  readonly brotli: Buffer
  /** Weak, because it is the same for every coding (RFC 9110 §8.8.3.3). Equal documents have equal tags, everywhere. */
  readonly etag: string
  readonly cacheControl: string
}

/** Ask again each time; with the tag that costs nothing. A document may be for some eyes only, so only they keep it. */
const cacheControl = 'private, no-cache'

const gzipped = promisify(gzip)
const brotlied = promisify(brotliCompress)

export interface Printer {
  /** An OpenAPI document as JSON (RFC 8259), without white space. */
  jsonOf(document: JsonObject): Promise<Representation>
}

/**
 * Path items and components are written once and stand in several documents, of one publication and of the next: their
 * bytes are kept for as long as they are. They must not change.
 */
export function createPrinter(): Printer {
  const written = new WeakMap<object, Buffer>()
  let last: Promise<unknown> = Promise.resolve()
  return {
    jsonOf(document) {
      const body = Buffer.concat([...inPieces(document)])
      // One packs at a time, and one coding: on two processors the other one is left for requests.
      const packed = last.then(() => represent('application/json', body))
      last = packed.catch(() => {})
      return packed
    },
  }

  function* inPieces(document: JsonObject): Iterable<Buffer> {
    let mark = '{'
    for (const [name, value] of Object.entries(document)) {
      if (value === undefined) continue
      yield Buffer.from(`${mark}${JSON.stringify(name)}:`)
      mark = ','
      if (!isObject(value)) yield Buffer.from(JSON.stringify(value))
      else if (name === 'paths' || name === 'webhooks') yield* inMap(value, piece)
      else if (name === 'components')
        yield* inMap(value, (section) => (isObject(section) ? inMap(section, piece) : piece(section)))
      else yield Buffer.from(JSON.stringify(value))
    }
    yield Buffer.from(mark === '{' ? '{}' : '}')
  }

  function* inMap(map: JsonObject, print: (value: unknown) => Iterable<Buffer>): Iterable<Buffer> {
    let mark = '{'
    for (const [name, value] of Object.entries(map)) {
      yield Buffer.from(`${mark}${JSON.stringify(name)}:`)
      yield* print(value)
      mark = ','
    }
    yield Buffer.from(mark === '{' ? '{}' : '}')
  }

  function piece(value: unknown): readonly Buffer[] {
    if (!isObject(value)) return [Buffer.from(JSON.stringify(value))]
    const known = written.get(value)
    if (known) return [known]
    const bytes = Buffer.from(JSON.stringify(value))
    written.set(value, bytes)
    return [bytes]
  }
}

/** Writing YAML takes ten times as long as writing JSON, and nobody reads so much of it. */
const largestYaml = 2 * 1_048_576

/**
 * The same as YAML 1.2 (RFC 9512), without anchors, which some readers refuse. What readers of YAML 1.1 would take for
 * something else than text stands in quotes: yes, no, on, 2020-01-01. A large document is the JSON text again: JSON is
 * YAML (YAML 1.2 §1.3).
 */
export async function yamlOf(document: object, json: Representation): Promise<Representation> {
  const type = 'application/yaml'
  if (json.body.length > largestYaml) return { ...json, type }
  const text = dump(document, { noRefs: true, lineWidth: -1, skipInvalid: true })
  return represent(type, Buffer.from(text))
}

/** The way to another thread and back costs more than it takes to pack so few bytes. */
const smallBody = 32_768

async function represent(type: string, body: Buffer): Promise<Representation> {
  const params = {
    [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
    // At better ones a large document costs a second, for a twentieth fewer bytes.
    [constants.BROTLI_PARAM_QUALITY]: 5,
    [constants.BROTLI_PARAM_SIZE_HINT]: body.length,
    // The tables of the usual window of 4 MB take ten times as long to set up as a small document to pack.
    [constants.BROTLI_PARAM_LGWIN]: Math.min(22, Math.max(16, Math.ceil(Math.log2(body.length + 1)))),
  }
  // Each chunk that comes out is a call in this thread.
  const chunkSize = Math.min(1_048_576, Math.max(16_384, body.length >> 3))
  const [small, smaller] =
    body.length <= smallBody
      ? [gzipSync(body, { level: 6, chunkSize }), brotliCompressSync(body, { params, chunkSize })]
      : [await gzipped(body, { level: 6, chunkSize }), await brotlied(body, { params, chunkSize })]
  const etag = `W/"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
  return { type, body, gzip: small, brotli: smaller, etag, cacheControl }
}
