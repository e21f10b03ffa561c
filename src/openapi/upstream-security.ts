import { foldName, isReserved, isWrittenByGateway } from '../http/reserved-fields.ts'
import type { Digest } from './digest.ts'
import type { EnforcedSecurity, JsonObject, SecurityRequirement } from './document.ts'
import { componentText, distinct } from './names.ts'
import { isObject, items, members, own, put } from './plain.ts'
import type { Report } from './report.ts'

/** Schemes of a service that its clients meet themselves, because services.json says so (`forward.upstreamSecurity`). */
export interface UpstreamSchemes {
  /** What an operation asks for when the gateway and the service both have their say. */
  combine(enforced: EnforcedSecurity, declared: unknown): readonly SecurityRequirement[]
  /** Of these names, those whose credential reaches the service. */
  passing(enforced: EnforcedSecurity): ReadonlySet<string>
  /** Where their credentials stand: a parameter there is covered by the scheme. */
  places(enforced: EnforcedSecurity): EnforcedSecurity['consumed']
  /** Those that were named, as they are published. */
  readonly published: JsonObject
}

/** Tells a scheme that the gateway does not check from its own; the value is the service that does. */
export const upstreamMark = 'x-sallyport-upstream'

/**
 * A credential of the service's own travels through the gateway as any other field does, unless it stands where the
 * gateway takes one off: two of them have no room there, so such a scheme is not published, and said to be so.
 */
export function createUpstreamSchemes(
  { service, schemes }: Pick<Digest, 'service' | 'schemes'>,
  report: Report,
): UpstreamSchemes {
  const names = new Map(
    [...distinct(Object.keys(schemes), componentText)].map(([name, text]) => [name, `${service}_${text}`]),
  )
  const published: JsonObject = {}
  const told = new Set<string>()
  const tell = (code: string, name: string, message: string) => {
    if (told.has(name + code)) return
    told.add(name + code)
    report.warning(code, message, '/components/securitySchemes')
  }
  const passing = ({ upstream = [], consumed }: EnforcedSecurity): ReadonlySet<string> => {
    const able = new Set<string>()
    for (const name of upstream) {
      const scheme = own(schemes, name)
      if (!isObject(scheme)) {
        tell(
          'unknown-upstream-scheme',
          name,
          `forward.upstreamSecurity names "${name}", which the document does not define`,
        )
        continue
      }
      const place = placeOf(scheme)
      if (!place || isTaken(place, consumed)) {
        const where = place
          ? `the gateway takes off what stands in the ${place.in} "${place.name}"`
          : 'it is no part of a request'
        tell('upstream-scheme-covered', name, `the credential of "${name}" cannot reach the service: ${where}`)
        continue
      }
      able.add(name)
      put(published, names.get(name)!, { ...scheme, [upstreamMark]: service })
    }
    return able
  }
  return {
    passing,
    places: (enforced) => [...passing(enforced)].map((name) => placeOf(own(schemes, name) as JsonObject)!),
    combine(enforced, declared) {
      const able = passing(enforced)
      const theirs = items(declared)
        .filter(isObject)
        .map((set) =>
          Object.fromEntries(
            members(set).flatMap(([name, scopes]) =>
              able.has(name) ? [[names.get(name)!, items(scopes) as string[]]] : [],
            ),
          ),
        )
      if (theirs.every((set) => Object.keys(set).length === 0)) return enforced.security
      const ours = enforced.security.length > 0 ? enforced.security : [{}]
      const all = ours.flatMap((gateway) => theirs.map((backend) => ({ ...gateway, ...backend })))
      return [...new Map(all.map((one) => [JSON.stringify(one), one])).values()]
    },
    published,
  }
}

type Place = EnforcedSecurity['consumed'][number]

function placeOf({ type, in: location, name }: JsonObject): Place | undefined {
  if (type === 'http' || type === 'oauth2' || type === 'openIdConnect') return { in: 'header', name: 'authorization' }
  const known = location === 'header' || location === 'query' || location === 'cookie'
  return type === 'apiKey' && known && typeof name === 'string' ? { in: location, name } : undefined
}

function isTaken({ in: location, name }: Place, consumed: EnforcedSecurity['consumed']): boolean {
  if (location !== 'header') return consumed.some((one) => one.in === location && one.name === name)
  const folded = foldName(name)
  if (isReserved(folded) || isWrittenByGateway(name)) return true
  return consumed.some((one) => one.in === 'header' && foldName(one.name) === folded)
}
