import { isObject } from './plain.ts'

/** Where a service stands in the gateway, and what its backend thinks of its own paths. */
export interface Mount {
  /** `/orders`; empty at the root. */
  readonly prefix: string
  readonly stripPath: boolean
  /** What the targets' URLs add in front of every path: `/base`, or empty. */
  readonly targetBasePath: string
}

export type Placed =
  | {
      readonly outcome: 'placed'
      /** What a client of the gateway asks for. */
      readonly published: string
      /** The same below the prefix, without what the router does not see. */
      readonly template: string
      /** Whether the key has a query or fragment: it describes a variant of a path, and is no path of its own. */
      readonly variant: boolean
      readonly repaired: boolean
    }
  | { readonly outcome: 'outside'; readonly reason: string }

/**
 * From a path key of the backend's document to what a client sends to the gateway.
 *
 * The backend sees `base + key`, where `base` comes from its `servers`. The gateway sends `targetBasePath` and then
 * either the whole path or what follows the prefix. So the base path of the targets is taken off where it is spelled
 * out, and what the backend adds beyond that is shown. Variables lose what other template languages add to them
 * (`{id:[0-9]+}`, `{path*}`, `{name=shelves/*}`): OpenAPI knows names only.
 */
export function placePath(mount: Mount, base: string, key: string): Placed {
  const [, bare = '', suffix = ''] = /^([^?#]*)(.*)$/s.exec(key) ?? []
  const plain = bare.replace(/\{([\w.-]+)(?:[*+]|[:=][^{}]*)\}/g, '{$1}')
  const slashed = plain.startsWith('/') ? plain : `/${plain}`
  const full = joinPaths(base, slashed)
  const encoded = encodePath(full)
  if (escapes(encoded))
    return { outcome: 'outside', reason: 'it has dot segments or backslashes, which no request may have' }
  const seen = withoutBase(encoded, mount.targetBasePath)
  let published: string
  let template: string
  if (mount.stripPath || mount.prefix === '') {
    template = seen
    published = seen === '/' && mount.prefix !== '' ? mount.prefix : `${mount.prefix}${seen}`
  } else {
    if (seen !== mount.prefix && !seen.startsWith(`${mount.prefix}/`)) {
      return {
        outcome: 'outside',
        reason: `it does not begin with ${mount.prefix}, and the gateway hands paths on whole`,
      }
    }
    published = seen
    template = seen.slice(mount.prefix.length) || '/'
  }
  return {
    outcome: 'placed',
    published: `${published}${suffix}`,
    template,
    variant: suffix !== '',
    repaired: slashed !== bare || full.includes('//') || encoded !== full,
  }
}

/** Two paths with one slash between them; double slashes inside of either are one. */
export function joinPaths(base: string, path: string): string {
  return `${base.replace(/\/+$/, '')}/${path.replace(/^\/+/, '')}`.replace(/\/{2,}/g, '/')
}

function withoutBase(path: string, base: string): string {
  const trimmed = base.replace(/\/+$/, '')
  if (trimmed === '') return path
  if (path === trimmed) return '/'
  return path.startsWith(`${trimmed}/`) ? path.slice(trimmed.length) : path
}

/** Percent-encode what RFC 3986 §3.3 does not allow in a path; template expressions stay as they are. */
function encodePath(path: string): string {
  return path.replace(/\{[^{}/]*\}|%[0-9A-Fa-f]{2}|[^A-Za-z0-9\-._~!$&'()*+,;=:@/\\]/gu, (text) =>
    text.length > 1 && (text.startsWith('{') || text.startsWith('%')) ? text : encode(text),
  )
}

function encode(character: string): string {
  // A lone surrogate has no encoding.
  return encodeURIComponent(character.isWellFormed() ? character : '\ufffd')
}

/** Whether a path could be read as leading elsewhere, in any spelling of dots and slashes. */
function escapes(path: string): boolean {
  const spelled = path
    .replace(/%25/gi, '%')
    .replace(/%2e/gi, '.')
    .replace(/%2f|%5c|\\/gi, '/')
  if (path.includes('\\')) return true
  return spelled.split('/').some((segment) => segment === '.' || segment === '..')
}

/** The names of a template's variables, in order. What follows a question mark or a hash is no part of a path. */
export function variablesOf(template: string): readonly string[] {
  const [path = ''] = template.split(/[?#]/, 1)
  return [...path.matchAll(/\{([^{}/]+)\}/g)].map((match) => match[1]!)
}

/** Templates that differ only in the names of their variables have one shape, and name one path. */
export function shapeOf(template: string): string {
  return template.replace(/\{[^{}/]*\}/g, '{}')
}

/** The host and path of a Server Object's URL; variables take their defaults. Undefined where it is no URL. */
export function serverAddress(
  server: unknown,
): { readonly host: string | undefined; readonly path: string } | undefined {
  if (!isObject(server) || typeof server.url !== 'string') return undefined
  const { variables } = server
  const url = server.url.replace(/\{([^{}]*)\}/g, (whole, name: string) => {
    const variable = isObject(variables) && Object.hasOwn(variables, name) ? variables[name] : undefined
    return isObject(variable) && typeof variable.default === 'string' ? variable.default : whole
  })
  const absolute = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)([^?#]*)/i.exec(url)
  if (absolute) return { host: absolute[1]!.toLowerCase(), path: absolute[2]!.replace(/\/+$/, '') }
  const [path = ''] = url.split(/[?#]/)
  const relative = path.replace(/^\.\//, '/').replace(/\/+$/, '')
  return { host: undefined, path: relative === '' || relative.startsWith('/') ? relative : `/${relative}` }
}
