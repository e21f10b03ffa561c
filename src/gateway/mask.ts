import type { Authenticator } from '../authentication/authenticator.ts'
import type { Origin } from './outbound.ts'

/** Hides secrets in what operators are shown. */
export interface Mask {
  /** The value of a header field as it may be shown. What services.json adds may be a secret, whatever its name. */
  field(name: string, value: string, from?: Origin): string
  /** A query as it may be shown: the values of credentials are hidden. */
  query(query: string): string
}

const hidden = '***'

/** Names that speak of a secret, whoever invented them. */
const telling =
  /^sec-websocket-protocol$|auth(?!-method|-status)|token(?!-type|-expires)|key|secret|password|passwd|credential|cookie|session|signature|assertion|jwt|code/i

/** The places where the schemes look are hidden, and whatever is called like a secret. */
export function createMask(authenticators: ReadonlyMap<string, Pick<Authenticator, 'location'>>): Mask {
  const places = [...authenticators.values()].map(({ location }) => location)
  const fields = new Set(places.flatMap((place) => (place.in === 'header' ? [place.name.toLowerCase()] : [])))
  const parameters = new Set(places.flatMap((place) => (place.in === 'query' ? [place.name] : [])))

  return {
    field(name, value, from) {
      if (from !== 'services.json' && !fields.has(name.toLowerCase()) && !telling.test(name)) return value
      const scheme = /^([A-Za-z]+) +\S/.exec(value)?.[1]
      return scheme === undefined ? hidden : `${scheme} ${hidden}`
    },
    query: (query) =>
      query
        .split('&')
        .map((pair) => {
          const equals = pair.indexOf('=')
          if (equals < 0) return pair
          const name = decode(pair.slice(0, equals))
          return parameters.has(name) || telling.test(name) ? `${pair.slice(0, equals)}=${hidden}` : pair
        })
        .join('&'),
  }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    // Cannot be compared, so it cannot be told from a credential's name.
    return 'key'
  }
}
