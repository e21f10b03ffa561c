/** Requests of one kind that a service answered although its document does not have them. */
export interface Undocumented {
  readonly method: string
  /** The path with what looks like a value taken out: `/orders/{}/lines`. */
  readonly template: string
  readonly count: number
  /** Seconds since the epoch. */
  readonly first: number
  readonly last: number
}

/**
 * What one service answered beyond its document, counted while it happens. Bounded, because clients choose paths: after
 * `most` kinds the rest is one number.
 */
export interface Traffic {
  /** `path` is canonical. */
  note(method: string, path: string): void
  /** Those that `isDocumented` does not know by now, the most frequent first; by a path that was asked for. */
  undocumented(isDocumented: (method: string, path: string) => boolean): readonly Undocumented[]
  /** Requests of kinds beyond those that are told apart. */
  readonly others: number
}

const most = 100
const longest = 200

export function createTraffic(now: () => number): Traffic {
  const kinds = new Map<
    string,
    { method: string; template: string; path: string; count: number; first: number; last: number }
  >()
  let others = 0
  return {
    note(method, path) {
      const template = templateOf(path)
      const key = `${method} ${template}`
      const at = Math.floor(now() / 1_000)
      const known = kinds.get(key)
      if (known) {
        known.count += 1
        known.last = at
        return
      }
      if (kinds.size >= most || path.length > longest) others += 1
      else kinds.set(key, { method, template, path, count: 1, first: at, last: at })
    },
    undocumented: (isDocumented) =>
      [...kinds.values()]
        .filter(({ method, path }) => !isDocumented(method, path))
        .sort((one, other) => other.count - one.count)
        .map(({ path: _, ...kind }) => kind),
    get others() {
      return others
    },
  }
}

/** Ids, dates, hashes and the like: what has a digit, or is longer than words are, or is no word at all. */
const value = /\d|^.{33,}$|[^A-Za-z._~-]/

function templateOf(path: string): string {
  return path
    .split('/')
    .map((segment) => (value.test(segment) && !/^v\d{1,2}$/.test(segment) ? '{}' : segment))
    .join('/')
}
