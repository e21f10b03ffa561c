import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { brotliCompress, constants, gzip } from 'node:zlib'

/** One file of the documentation page, ready to send. */
export interface Asset {
  /** 308 for `/docs/`, which has no body and a `Location` among its fields. */
  readonly status: 200 | 308
  /** The value of `Content-Type`. */
  readonly type: string
  readonly body: Buffer
  /** The body in content codings; made when first asked for, and once. Absent where it is not worth it. */
  readonly packed?: () => Promise<Packed>
  /** Weak, because it names the file whatever its coding (RFC 9110 §8.8.1). */
  readonly etag: string
  /** The value of `Cache-Control`. */
  readonly cacheControl: string
  /** Security fields of the answer, by name. */
  readonly fields: Readonly<Record<string, string>>
}

/** A body in the content codings of RFC 9110 §8.4.1; absent where compression gains nothing. */
export interface Packed {
  readonly gzip?: Buffer
  readonly brotli?: Buffer
}

/** What the page shows; `createDocsPage` writes it to `/docs/config.json`, where the page's script finds it. */
export interface DocsOptions {
  /** The name in the page's header and the browser's tab. */
  readonly title: string
  /** The drop-down, first one first; URLs absolute or relative to the page. */
  readonly documents: readonly { readonly name: string; readonly url: string }[]
  readonly oauth: {
    /** The public client that the page is at the authorization server. */
    readonly clientId: string
    /** The scopes that are ticked before the user chooses. */
    readonly scopes: readonly string[]
    /** What an authorization server wants besides, such as an `audience`. */
    readonly additionalQueryStringParams?: Readonly<Record<string, string>>
  }
  /** Absolute URL of `/docs/oauth2-redirect.html` as it is registered at the authorization server. */
  readonly redirectUrl: string
  /** "caller": what the documents show depends on who asks, so the page asks again when that changes. */
  readonly view: 'all' | 'caller'
  /** Origins besides its own that the page may send requests to: the token endpoints of issuers elsewhere. */
  readonly connectSrc: readonly string[]
}

export interface DocsPage {
  /** The asset of a request path, such as `/docs` or `/docs/swagger-ui.css`. */
  find(path: string): Asset | undefined
}

/** The files that are the same for every configuration; read once, see `readDocsFiles`. */
export type DocsFiles = ReadonlyMap<string, Omit<Asset, 'fields'>>

// `/docs` and not `/docs/`: a cookie that the page sets without a path then reaches the whole gateway (RFC 6265 §5.1.4),
// and with `/docs/` it would reach nothing but the page.
const own = {
  '/docs': 'index.html',
  '/docs/initializer.js': 'initializer.js',
  '/docs/deep-links.js': 'deep-links.js',
  '/docs/find-operations.js': 'find-operations.js',
  '/docs/large-documents.js': 'large-documents.js',
  '/docs/plain-schemas.js': 'plain-schemas.js',
  '/docs/slices.js': 'slices.js',
  '/docs/steady-examples.js': 'steady-examples.js',
  '/docs/steady-list.js': 'steady-list.js',
  '/docs/sallyport.css': 'sallyport.css',
  '/docs/sallyport.svg': 'sallyport.svg',
  '/docs/oauth2-redirect.html': 'oauth2-redirect.html',
  '/docs/oauth2-redirect.js': 'oauth2-redirect.js',
} as const

// The package's own index.html and initializer are not among them: they load somebody else's demo.
const swaggerUi = {
  '/docs/swagger-ui.css': 'swagger-ui.css',
  '/docs/swagger-ui-bundle.js': 'swagger-ui-bundle.js',
  '/docs/swagger-ui-standalone-preset.js': 'swagger-ui-standalone-preset.js',
  '/docs/swagger-ui-bundle.js.LICENSE.txt': 'swagger-ui-bundle.js.LICENSE.txt',
  '/docs/swagger-ui-standalone-preset.js.LICENSE.txt': 'swagger-ui-standalone-preset.js.LICENSE.txt',
  '/docs/LICENSE.txt': 'LICENSE',
  '/docs/NOTICE.txt': 'NOTICE',
} as const

const types: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
  json: 'application/json',
  txt: 'text/plain; charset=utf-8',
}

/** Read the page's files, about 2 MB. */
export async function readDocsFiles(): Promise<DocsFiles> {
  const dist = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))
  const page = join(import.meta.dirname, 'page')
  const sources = [
    ...Object.entries(own).map(([path, file]) => [path, join(page, file)] as const),
    ...Object.entries(swaggerUi).map(([path, file]) => [path, join(dist, file)] as const),
  ]
  return new Map(
    await Promise.all(
      sources.map(async ([path, file]) => {
        const type = types[path === '/docs' ? 'html' : path.slice(path.lastIndexOf('.') + 1)]!
        const body = await readFile(file)
        return [path, { ...describe(type, body), packed: packedOnce(body) }] as const
      }),
    ),
  )
}

/** The page for one configuration. Cheap: the files are shared, only the settings and the policy are made. */
export function createDocsPage(options: DocsOptions, files: DocsFiles): DocsPage {
  const { title, documents, oauth, redirectUrl, view } = options
  const common = {
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Resource-Policy': 'same-origin',
  }
  const document = (directives: readonly string[]) => ({
    ...common,
    'Content-Security-Policy': [...directives, ...nothingElse].join('; '),
    // Cuts the tie between this page and a sign-in window of another origin, in both directions; the answer comes back
    // through a BroadcastChannel, which needs no tie.
    'Cross-Origin-Opener-Policy': 'same-origin',
  })
  const fieldsOf: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    '/docs': document([
      "default-src 'none'",
      "script-src 'self'",
      "style-src 'self'",
      // Swagger UI draws its arrows with data: images.
      "img-src 'self' data:",
      ["connect-src 'self'", ...options.connectSrc.map(origin)].join(' '),
    ]),
    '/docs/oauth2-redirect.html': document([
      "default-src 'none'",
      "script-src 'self'",
      "style-src 'self'",
      "img-src 'self'",
    ]),
  }

  const assets = new Map<string, Asset>()
  for (const [path, file] of files) assets.set(path, { ...file, fields: fieldsOf[path] ?? common })
  const settings = Buffer.from(JSON.stringify({ title, documents, oauth, redirectUrl, view }))
  assets.set('/docs/config.json', { ...describe(types['json']!, settings), fields: common })
  assets.set('/docs/', {
    ...describe(types['txt']!, Buffer.alloc(0)),
    status: 308,
    // Relative, so that it holds behind a proxy that adds a prefix.
    fields: { ...common, Location: '../docs' },
  })

  return { find: (path) => assets.get(path) }
}

const nothingElse = ["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"]

function origin(text: string): string {
  const url = new URL(text)
  if (url.origin === 'null') throw new TypeError(`"${text}" has no origin that a page could connect to`)
  return url.origin
}

/** The parts of an asset that follow from its bytes. */
function describe(type: string, body: Buffer) {
  return {
    status: 200,
    type,
    body,
    etag: `W/"${createHash('sha256').update(body).digest('base64url').slice(0, 27)}"`,
    // Kept, but asked for again each time: a new release must not meet an old half of itself.
    cacheControl: 'no-cache',
  } as const
}

const compress = { gzip: promisify(gzip), brotli: promisify(brotliCompress) }

/** Two megabytes cost a quarter of a second of processor, and a gateway whose page nobody opens never spends it. */
function packedOnce(body: Buffer): () => Promise<Packed> {
  let packing: Promise<Packed> | undefined
  return function packed() {
    packing ??= pack(body)
    return packing
  }
}

async function pack(body: Buffer): Promise<Packed> {
  const [gzipped, brotli] = await Promise.all([
    compress.gzip(body, { level: 9 }),
    // Above 5 the time doubles and the size falls by two per cent.
    compress.brotli(body, {
      params: { [constants.BROTLI_PARAM_QUALITY]: 5, [constants.BROTLI_PARAM_SIZE_HINT]: body.length },
    }),
  ])
  return gzipped.length >= body.length ? {} : { gzip: gzipped, brotli }
}
