/** What a room needs of a logger. Objects first, one sentence second. */
export interface Log {
  debug(facts: object, message: string): void
  info(facts: object, message: string): void
  warn(facts: object, message: string): void
  error(facts: object, message: string): void
}

/** For tools and tests that have nothing to say. */
export const silent: Log = { debug() {}, info() {}, warn() {}, error() {} }
