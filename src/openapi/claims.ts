import type { EnforcedSecurity, SecurityRequirement } from './document.ts'

/** How what a service says of its own security differs from what the gateway enforces. */
export interface Disagreement {
  /** `looser`: the gateway asks for less than the service says it does. `stricter`: for more. */
  readonly kind: 'looser' | 'stricter'
  readonly detail: string
}

/**
 * Hold what a service claims about one operation against what is enforced there. Schemes are not compared, because
 * they have other names and are other credentials on both sides: compared is whether somebody is asked who they are,
 * and whether what the service says is needed besides (scopes, roles) is asked for by the gateway at all.
 */
export function compareClaim(
  claim: readonly SecurityRequirement[],
  { security, allow }: Pick<EnforcedSecurity, 'security' | 'allow'>,
): Disagreement | undefined {
  const [claims, enforces] = [asks(claim), asks(security)]
  if (claims && !enforces) {
    const how = security.length === 0 ? 'nobody' : 'nobody who does not want to be'
    return { kind: 'looser', detail: `the service asks for ${shown(claim)}, the gateway asks ${how}` }
  }
  if (!claims && enforces) {
    const how = claim.length === 0 ? 'is open' : 'lets guests in'
    return {
      kind: 'stricter',
      detail: `the service says that the operation ${how}, the gateway asks for ${shown(security)}`,
    }
  }
  if (!claims) return undefined
  const asked = new Set([...security.flatMap((set) => Object.values(set).flat()), ...namesIn(allow)])
  const missing = neededIn(claim).filter((name) => !asked.has(name))
  if (missing.length === 0) return undefined
  return { kind: 'looser', detail: `the service asks for ${missing.join(', ')} besides, the gateway does not` }
}

/** Whether nobody gets by without a credential. */
function asks(security: readonly SecurityRequirement[]): boolean {
  return security.length > 0 && security.every((set) => Object.keys(set).length > 0)
}

/** What is needed whichever alternative is taken. */
function neededIn(security: readonly SecurityRequirement[]): readonly string[] {
  const [first = [], ...others] = security.map((set) => Object.values(set).flat())
  return [...new Set(first.filter((name) => others.every((names) => names.includes(name))))]
}

/** Every role, permission and scope that an `allow` names, as it is published. */
function namesIn(allow: unknown): readonly string[] {
  if (typeof allow === 'string') return [allow]
  return typeof allow === 'object' && allow !== null ? Object.values(allow).flatMap(namesIn) : []
}

function shown(security: readonly SecurityRequirement[]): string {
  return security.map((set) => Object.keys(set).join(' and ') || 'nothing').join(' or ')
}
