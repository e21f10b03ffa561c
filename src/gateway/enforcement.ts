import type { AllowDefinition } from '../authorization/allow.ts'
import { namesAnything } from '../config/check.ts'
import type { Definition, RouteDefinition, ServiceDefinition } from '../config/schema.ts'
import type { SecurityRequirement } from '../openapi/document.ts'

/** What one row of the table asks for, and which of it is only tried (`"enforce": "shadow"`). */
export interface Enforcement {
  readonly security: readonly SecurityRequirement[]
  /** The names in `security` refuse nobody; that somebody calls is asked for all the same. */
  readonly namesInShadow: boolean
  /** Every `allow` that is asked, the service's first. */
  readonly allows: readonly WrittenAllow[]
}

export interface WrittenAllow {
  readonly allow: AllowDefinition
  /** Where it is written: `/services/orders/allow`. */
  readonly pointer: string
  readonly shadow: boolean
}

/**
 * A route tightens what its service allows; it replaces it only when it says so, or when it is public and asks nobody.
 * What is in shadow is what is written beside the word: a route that tries an `allow` of its own leaves the service's
 * in force, and a route that says "on" puts in force what its service tries.
 */
export function enforcementOf(
  definition: Pick<Definition, 'security'>,
  service: ServiceDefinition,
  route: RouteDefinition | undefined,
): Enforcement {
  const security = route?.security ?? service.security ?? definition.security ?? []
  const isPublic = security.length === 0
  const inherited = route && (route.override || (isPublic && route.security)) ? undefined : service.allow
  const inheritedShadow = service.enforce === 'shadow' && route?.enforce !== 'on'
  const ownShadow = (route?.enforce ?? service.enforce) === 'shadow'
  const place = `/services/${service.name}`
  return {
    security,
    namesInShadow: (route?.security ? ownShadow : inheritedShadow) && namesAnything(security),
    allows: [
      ...(inherited ? [{ allow: inherited, pointer: `${place}/allow`, shadow: inheritedShadow }] : []),
      ...(route?.allow
        ? [{ allow: route.allow, pointer: `${place}/routes/${route.match}/allow`, shadow: ownShadow }]
        : []),
    ],
  }
}

/** The same alternatives, asking for nothing but somebody. */
export function withoutNames(security: readonly SecurityRequirement[]): readonly SecurityRequirement[] {
  return security.map((alternative) => Object.fromEntries(Object.keys(alternative).map((scheme) => [scheme, []])))
}
