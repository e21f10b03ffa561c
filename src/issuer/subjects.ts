import type { ClientDefinition } from './settings.ts'
import type { Users } from './users.ts'

/** What is said about a subject, whether a person or a client on its own behalf. */
export interface Subject {
  readonly roles: readonly string[]
  readonly permissions: readonly string[]
  readonly name?: string | undefined
  readonly email?: string | undefined
  readonly organization?: string | undefined
}

export interface Subjects {
  /** As it stands in the files now; undefined when there is no such subject or it is locked out. */
  find(subject: string): Subject | undefined
}

export function createSubjects(users: Users, clients: ReadonlyMap<string, ClientDefinition>): Subjects {
  return {
    find(subject) {
      // Users and clients have no subject in common: `openUsers` refuses that.
      if (users.isActive(subject)) return users.find(subject)
      return clients.get(subject)
    },
  }
}

/** The claims of an access token about its subject; what is not known is left out. */
export function claimsOf({ roles, permissions, name, email, organization }: Subject): Record<string, unknown> {
  return {
    roles: [...roles],
    permissions: [...permissions],
    ...(name !== undefined && { name }),
    ...(email !== undefined && { email }),
    ...(organization !== undefined && { organization }),
  }
}
