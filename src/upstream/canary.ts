import type { Affinity } from './balancers/balancer.ts'
import { fnv, mix } from './balancers/digest.ts'

/** Who is served by the canary, besides its targets. */
export interface CanarySettings {
  /** Of a hundred callers. */
  readonly weight: number
  /** A request header field that says `always` or `never`. */
  readonly header?: string | undefined
  readonly roles: readonly string[]
}

/**
 * Whether a request goes to the canary: as its header field says, else when its caller has one of the roles, else by
 * the draw of the caller. A caller draws once for each service, so it stays where it is, and a larger weight adds
 * callers without moving any.
 */
export function createCanaryChoice(
  service: string,
  { weight, header, roles }: CanarySettings,
  chance: () => number,
): (affinity: Affinity | undefined) => boolean {
  const field = header?.toLowerCase()
  const seed = fnv(service)
  return function wantsCanary(affinity) {
    if (affinity && field !== undefined) {
      const wish = affinity.field(field)?.toLowerCase()
      if (wish === 'always') return true
      if (wish === 'never') return false
    }
    if (affinity?.roles?.some((role) => roles.includes(role))) return true
    if (weight === 0) return false
    const key = affinity?.caller ?? affinity?.client
    const draw = key === undefined ? chance() : mix(fnv(key) ^ seed) / 4_294_967_296
    return draw * 100 < weight
  }
}
