import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'
import { stringify } from 'yaml'

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

/** The document as JSON (RFC 8259), without white space. */
export function jsonOf(document: object): Promise<Representation> {
  return represent('application/json', JSON.stringify(document))
}

/** Writing YAML takes twenty times as long as writing JSON, and nobody reads so much of it. */
const largestYaml = 2 * 1_048_576

/**
 * The same as YAML 1.2 (RFC 9512), without anchors, which some readers refuse. A large document is the JSON text again:
 * JSON is YAML (YAML 1.2 §1.3).
 */
export async function yamlOf(document: object, json: Representation): Promise<Representation> {
  const type = 'application/yaml'
  if (json.body.length > largestYaml) return { ...json, type }
  return represent(type, stringify(document, { aliasDuplicateObjects: false, lineWidth: 0 }))
}

async function represent(type: string, text: string): Promise<Representation> {
  const body = Buffer.from(text)
  // A large document costs a second at the best quality and a tenth of that at this one, for a twentieth more bytes.
  const quality = body.length > 500_000 ? 5 : 9
  const params = {
    [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
    [constants.BROTLI_PARAM_QUALITY]: quality,
    [constants.BROTLI_PARAM_SIZE_HINT]: body.length,
  }
  const [small, smaller] = await Promise.all([gzipped(body, { level: 6 }), brotlied(body, { params })])
  const etag = `W/"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
  return { type, body, gzip: small, brotli: smaller, etag, cacheControl }
}
