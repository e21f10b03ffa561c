import type { Caller } from '../authentication/caller.ts'
import type { Unmet } from '../authentication/identify.ts'
import type { Decision, Question } from './policy.ts'

/**
 * One requirement of a policy: a row of `allow`, or the names in a Security Requirement Object.
 * Undefined when the caller meets it, else the decision that ends the request.
 */
export interface Row {
  /** JSON pointer below `allow`: `/roles`, `/0/when`. */
  readonly pointer: string
  /** What is needed, as the caller may read it; never the text of an expression. */
  readonly needs: string
  check(question: Question): Denial | Undecided | undefined
}

export type Denial = Extract<Decision, { verdict: 'deny' }>
export type Undecided = Extract<Decision, { verdict: 'undecided' }>

/** What a caller may do: its own permissions and those its roles bring along. */
export type PermissionsOf = (caller: Caller) => readonly string[]

/**
 * Permissions through `rolePermissions`, a table of role → permissions.
 * Remembered per caller, since one caller object serves every request that shows the same credential.
 */
export function expandPermissions(rolePermissions: Readonly<Record<string, readonly string[]>> = {}): PermissionsOf {
  // A Map, because a role may be called `constructor`.
  const table = new Map(Object.entries(rolePermissions))
  if (table.size === 0) return (caller) => caller.permissions

  const remembered = new WeakMap<Caller, readonly string[]>()
  return function permissionsOf(caller) {
    let permissions = remembered.get(caller)
    if (permissions === undefined) {
      permissions = [...new Set([...caller.permissions, ...caller.roles.flatMap((role) => table.get(role) ?? [])])]
      remembered.set(caller, permissions)
    }
    return permissions
  }
}

/** Any one of the roles. */
export function anyRole(roles: readonly string[], pointer: string): Row {
  const needs = roles.length === 1 ? `the role ${roles[0]}` : `one of the roles ${roles.join(', ')}`
  const denial = deny('insufficient-role', pointer, needs)
  return {
    pointer,
    needs,
    check: function checkRoles({ caller }) {
      for (const role of roles) if (caller.roles.includes(role)) return undefined
      return denial
    },
  }
}

/** Every one of the roles, which is what the names mean for a scheme without scopes (OpenAPI 3.1, Security Requirement Object). */
export function everyRole(roles: readonly string[], pointer: string): Row {
  return {
    pointer,
    needs: listed('role', roles),
    check: function checkRoles({ caller }) {
      if (includesAll(caller.roles, roles)) return undefined
      return deny('insufficient-role', pointer, listed('role', missing(caller.roles, roles)))
    },
  }
}

/** Every one of the permissions, own or brought along by a role. */
export function everyPermission(permissions: readonly string[], pointer: string, permissionsOf: PermissionsOf): Row {
  return {
    pointer,
    needs: listed('permission', permissions),
    check: function checkPermissions({ caller }) {
      const held = permissionsOf(caller)
      if (includesAll(held, permissions)) return undefined
      return deny('insufficient-permission', pointer, listed('permission', missing(held, permissions)))
    },
  }
}

/** Every one of the scopes. The denial carries all of them, as the challenge of RFC 6750 §3 names what the resource needs. */
export function everyScope(scopes: readonly string[], pointer: string): Row {
  return {
    pointer,
    needs: listed('scope', scopes),
    check: function checkScopes({ caller }) {
      if (includesAll(caller.scopes, scopes)) return undefined
      return { ...deny('insufficient-scope', pointer, listed('scope', missing(caller.scopes, scopes))), scopes }
    },
  }
}

/**
 * The denial of a caller whom a scheme accepts without all the names that the requirement array asks for. Who else
 * calls in the same request does not matter: the names are asked of that scheme. `row` is the scheme's name as a JSON
 * pointer: `/bearer`.
 */
export function lackingNames({ scheme, kind, missing, needed }: Unmet): Denial {
  const pointer = `/${escapePointer(scheme)}`
  if (kind === 'roles') return deny('insufficient-role', pointer, listed('role', missing))
  return { ...deny('insufficient-scope', pointer, listed('scope', missing)), scopes: needed }
}

export function deny(code: Denial['code'], row: string, needs: string): Denial {
  return Object.freeze({ verdict: 'deny', code, row, detail: sentence(needs) })
}

/** "The role admin is needed." */
export function sentence(needs: string): string {
  return `${needs.charAt(0).toUpperCase()}${needs.slice(1)} ${/^the (?:roles|permissions|scopes) /.test(needs) ? 'are' : 'is'} needed.`
}

/** RFC 6901 §3. */
function escapePointer(token: string): string {
  return token.replaceAll('~', '~0').replaceAll('/', '~1')
}

function includesAll(held: readonly string[], needed: readonly string[]): boolean {
  for (const name of needed) if (!held.includes(name)) return false
  return true
}

function missing(held: readonly string[], needed: readonly string[]): readonly string[] {
  return needed.filter((name) => !held.includes(name))
}

function listed(what: string, names: readonly string[]): string {
  return names.length === 1 ? `the ${what} ${names[0]}` : `the ${what}s ${names.join(', ')}`
}
