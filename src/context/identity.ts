import type { FieldLines, Plugin, RequestFields } from './plugin.ts'

/** The caller as the gateway introduced it. Believe it only where nothing but the gateway, or a service behind it, can reach this one. */
export interface Identity {
  /** `anonymous` for a guest. */
  readonly subject: string
  readonly email?: string
  /** The first of `roles`; `guest` for a guest. */
  readonly role?: string
  readonly roles: readonly string[]
  readonly organization?: string
  readonly permissions: readonly string[]
  /** `authenticated`, `no-token`, `invalid-token` or `token-expired`. */
  readonly status?: string
  /** How the caller proved itself: `jwt`, `api-key`, `session`, … */
  readonly method?: string
  readonly tokenType?: string
  /** When the credential ends, seconds since the epoch. */
  readonly expiresAt?: number
}

/** The header field of each property, as the gateway sends them. */
export const identityFields = {
  subject: 'User-ID',
  email: 'User-Email',
  role: 'User-Role',
  roles: 'User-Roles',
  organization: 'Organization-ID',
  permissions: 'Permissions',
  status: 'Auth-Status',
  method: 'Auth-Method',
  tokenType: 'Token-Type',
  expiresAt: 'Token-Expires',
} as const satisfies Record<keyof Identity, string>

/** Other names for some fields, where the gateway's `forward.identity` maps them. */
export type IdentityNames = Readonly<Partial<Record<keyof Identity, string>>>

/** Who is calling. Undefined when nobody introduced the caller: no `User-ID` came. Carried on to the letter. */
export function identity(names: IdentityNames = {}): Plugin<Identity | undefined> {
  const fieldNames: Readonly<Record<keyof Identity, string>> = { ...identityFields, ...names }
  const linesAsReceived = new WeakMap<Identity, FieldLines>()
  return {
    read(fields) {
      const lines = receivedLines(fields, Object.values(fieldNames))
      const caller = readIdentity((property) => lines[fieldNames[property]])
      if (caller) linesAsReceived.set(caller, lines)
      return caller
    },
    carry: {
      names: Object.values(fieldNames),
      fields: (caller) => (caller ? (linesAsReceived.get(caller) ?? writeIdentity(caller, fieldNames)) : {}),
    },
  }
}

function receivedLines(fields: RequestFields, names: readonly string[]): FieldLines {
  const lines: Record<string, string> = {}
  for (const name of names) {
    const text = fields.get(name)
    if (text !== undefined) lines[name] = text
  }
  return lines
}

function readIdentity(line: (property: keyof Identity) => string | undefined): Identity | undefined {
  const text = (property: keyof Identity) => decode(line(property) ?? '') || undefined
  const list = (property: keyof Identity) =>
    (line(property) ?? '')
      .split(',')
      .map((part) => decode(part.trim()))
      .filter(Boolean)
  const subject = text('subject')
  if (subject === undefined) return undefined
  const expiresAt = Number(line('expiresAt') || Number.NaN)
  return Object.freeze(
    withoutUndefined({
      subject,
      email: text('email'),
      role: text('role'),
      roles: Object.freeze(list('roles')),
      organization: text('organization'),
      permissions: Object.freeze(list('permissions')),
      status: text('status'),
      method: text('method'),
      tokenType: text('tokenType'),
      expiresAt: Number.isFinite(expiresAt) ? expiresAt : undefined,
    }),
  )
}

/** For identities that nobody sent: those of jobs and tests. */
function writeIdentity(caller: Identity, names: Readonly<Record<keyof Identity, string>>): FieldLines {
  const lines: Record<string, string> = {}
  for (const [property, name] of Object.entries(names)) {
    const value = caller[property as keyof Identity]
    const text = Array.isArray(value) ? value.map(encode).join(',') : encode(String(value ?? ''))
    if (text !== '') lines[name] = text
  }
  return lines
}

const escaped = /[^!-$&-~]|,/gu
const percentEncoded = /(?:%[\da-f]{2})+/gi

/** As the gateway writes them: what is not visible ASCII, `%`, and the comma within a list travel percent-encoded as UTF-8. */
function encode(text: string): string {
  return text.toWellFormed().replace(escaped, encodeURIComponent)
}

function decode(text: string): string {
  return text.replace(percentEncoded, (octets) => {
    try {
      return decodeURIComponent(octets)
    } catch {
      return octets
    }
  })
}

type Optional<T> = { [Key in keyof T as undefined extends T[Key] ? Key : never]?: Exclude<T[Key], undefined> }
type Required<T> = { [Key in keyof T as undefined extends T[Key] ? never : Key]: T[Key] }

function withoutUndefined<T extends object>(record: T): Required<T> & Optional<T> {
  return Object.fromEntries(Object.entries(record).filter(([, member]) => member !== undefined)) as Required<T> &
    Optional<T>
}
