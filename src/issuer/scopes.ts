import { docsClientId, type EmbeddedSettings } from './settings.ts'

/** Scopes of OpenID Connect Core §5.4 and the claims of ID tokens they stand for. */
export const openIdClaims = {
  openid: ['sub', 'roles', 'permissions', 'organization'],
  profile: ['name', 'preferred_username'],
  email: ['email'],
} as const satisfies Record<string, readonly string[]>

const openIdScopes = Object.keys(openIdClaims)

/** Which scopes there are, and whose. */
export interface Scopes {
  /** API scopes and those of OpenID Connect, each with what people read about it. */
  readonly described: Readonly<Record<string, string>>
  /** The API scopes a client may have. */
  of(clientId: string): readonly string[]
  /** What a client gets that asks for none (RFC 6749 §3.3). */
  defaultOf(clientId: string): string
  /** Those of `requested` that the client may have, told apart; the others are left out, and the answer says what is given. */
  granted(clientId: string, requested: string): { readonly openId: string[]; readonly api: string[] }
}

export function createScopes({ scopes, clients }: Pick<EmbeddedSettings, 'scopes' | 'clients'>): Scopes {
  const described: Record<string, string> = {
    openid: 'Sign in',
    profile: 'Your name',
    email: 'Your email address',
  }
  for (const scope of clients.flatMap((client) => client.scopes)) described[scope] = ''
  Object.assign(described, scopes)
  const api = Object.keys(described).filter((scope) => !openIdScopes.includes(scope))
  const byClient = new Map<string, readonly string[]>(clients.map((client) => [client.id, client.scopes]))
  byClient.set(docsClientId, api)

  const of = (clientId: string) => byClient.get(clientId) ?? api
  return {
    described,
    of,
    defaultOf: (clientId) => of(clientId).join(' '),
    granted(clientId, requested) {
      const wanted = [...new Set(requested.split(' '))]
      const allowed = of(clientId)
      return {
        openId: wanted.filter((scope) => openIdScopes.includes(scope)),
        api: wanted.filter((scope) => allowed.includes(scope)),
      }
    },
  }
}
