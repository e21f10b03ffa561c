import { isName } from './fields.ts'

/**
 * Where a service sends a client on (Location, Content-Location; RFC 9110 §10.2.2, §8.7). A service that builds absolute
 * URLs from its own address would send clients past the gateway, and tell them where it stands.
 */
export interface LocationSettings {
  /** URLs of the service's targets. */
  readonly targets: readonly string[]
  /** The path below which clients find the service; empty when it is not stripped or at the root. */
  readonly prefix: string
}

/** Returns the function that puts the gateway's path in place of a target's own URL, in a flat list of fields. Other values stay. */
export function createLocationRewriter({ targets, prefix }: LocationSettings) {
  const places = targets.map((target) => {
    const { origin, pathname } = new URL(target)
    return { origin, base: pathname.replace(/\/+$/, '') }
  })

  function rewrite(value: string): string {
    for (const { origin, base } of places) {
      if (value.slice(0, origin.length).toLowerCase() !== origin) continue
      const rest = value.slice(origin.length)
      if (rest !== '' && !'/?#'.includes(rest[0]!)) continue
      const below =
        rest.startsWith(base) && /^(?:[/?#]|$)/.test(rest.slice(base.length)) ? rest.slice(base.length) : rest
      return `${prefix}${below.startsWith('/') ? '' : '/'}${below}`
    }
    return value
  }

  return function rewriteLocations(lines: string[]): void {
    for (let i = 0; i < lines.length; i += 2) {
      const name = lines[i]!
      if (isName(name, 'location') || isName(name, 'content-location')) lines[i + 1] = rewrite(lines[i + 1]!)
    }
  }
}
