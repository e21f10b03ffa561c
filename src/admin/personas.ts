import type Router from '@koa/router'
import type { Person } from '../issuer/issuer.ts'
import { StoreUnavailable } from '../store/store.ts'
import type { KeyTools } from './keys.ts'

/** Somebody that the gateway knows of, as `POST /explain` takes callers. */
export interface Persona {
  readonly name: string
  /** Who knows them: an issuer, or the scheme of their key. */
  readonly from: string
  readonly claims: Readonly<Record<string, unknown>>
}

/** `GET /personas`: users and clients of the embedded issuer, holders of keys. No secret, and no more than `longestList`. */
export function personaEndpoints(router: Router, { live, keys }: Pick<KeyTools, 'keys' | 'live'>): void {
  router.get('/personas', async (ctx) => {
    const { definition, issuer } = live.current
    const people = issuer?.people().map(personaFrom('built-in issuer')) ?? []
    const holders = Object.entries(definition.securitySchemes).flatMap(([scheme, settings]) =>
      'keys' in settings && settings.keys ? settings.keys.map(personaFrom(`keys of ${scheme}`)) : [],
    )
    const stored = (await keys.list().catch(nothingWithoutStore)).map(personaFrom('key store'))
    ctx.body = { personas: [...people, ...holders, ...stored].slice(0, longestList) }
  })
}

const longestList = 500

function personaFrom(from: string) {
  return ({ subject, name, email, organization, roles, permissions, scopes }: Person): Persona => ({
    name: name ?? subject,
    from,
    claims: { subject, name, email, organization, roles, permissions, scopes },
  })
}

function nothingWithoutStore(error: unknown): readonly never[] {
  if (error instanceof StoreUnavailable) return []
  throw error
}
