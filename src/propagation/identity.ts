import type { Caller } from '../authentication/caller.ts'
import type { AuthenticationStatus } from '../authentication/identify.ts'
import { fieldList, fieldValue } from '../http/fields.ts'

/** What a service is told about the caller, by the name of the header field that carries it (Contract 3). */
export const identityFields = {
  'User-ID': (caller) => fieldValue(caller.subject),
  'User-Email': (caller) => caller.email && fieldValue(caller.email),
  // As in the list: a comma inside a role must not become another role where the service splits.
  'User-Role': (caller) => fieldList(caller.roles.slice(0, 1)),
  'User-Roles': (caller) => fieldList(caller.roles),
  'Organization-ID': (caller) => caller.organization && fieldValue(caller.organization),
  Permissions: (caller) => fieldList(caller.permissions),
  'Auth-Method': (caller) => (caller.method === 'none' ? undefined : caller.method),
  'Token-Type': (caller) => caller.tokenType,
  'Token-Expires': (caller) => (caller.expiresAt === undefined ? undefined : String(Math.floor(caller.expiresAt))),
} as const satisfies Record<string, (caller: Caller) => string | undefined>

/** `Auth-Status` stands apart: it belongs to the request, not to the caller. */
export const statusField = 'Auth-Status'

export type IdentityFieldName = keyof typeof identityFields | typeof statusField
export const identityFieldNames = [...Object.keys(identityFields), statusField] as readonly IdentityFieldName[]

/** `true`: the names of Contract 3. An object: other names for some of them, `false` for those that are not sent. */
export type IdentitySetting = boolean | Readonly<Partial<Record<IdentityFieldName, string | false>>>

/**
 * Compile `forward.identity` to a function that writes the caller as header lines, flat.
 * A caller object serves many requests, so its lines are made once and kept as long as the caller is.
 */
export function createIdentityWriter(setting: IdentitySetting) {
  const nameOf = (name: IdentityFieldName) =>
    setting === true ? name : setting === false ? false : (setting[name] ?? name)
  const columns = Object.entries(identityFields).flatMap(([name, read]) => {
    const published = nameOf(name as IdentityFieldName)
    return published === false ? [] : [{ published, read }]
  })
  const status = nameOf(statusField)
  const known = new WeakMap<Caller, readonly string[]>()

  return function writeIdentity(lines: string[], caller: Caller, authentication: AuthenticationStatus): void {
    let fixed = known.get(caller)
    if (!fixed) {
      fixed = columns.flatMap(({ published, read }) => {
        const value = read(caller)
        return value ? [published, value] : []
      })
      known.set(caller, fixed)
    }
    for (const text of fixed) lines.push(text)
    if (status !== false) lines.push(status, authentication)
  }
}

/** The names of services.json's own that must be stripped from every request besides those of Contract 3. */
export function mappedNames(setting: IdentitySetting): readonly string[] {
  return typeof setting === 'boolean' ? [] : Object.values(setting).filter((name) => name !== false)
}

/** The names of all fields that are sent under a setting. */
export function writtenNames(setting: IdentitySetting): readonly string[] {
  if (setting === false) return []
  return identityFieldNames
    .map((name) => (setting === true ? name : (setting[name] ?? name)))
    .filter((name) => name !== false)
}
