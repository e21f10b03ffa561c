import type { Log } from './telemetry/log.ts'

/** What a room may be handed instead of reaching for it: clock, chance and log come from `main.ts`, so tests need no patching. */
export interface Tools {
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly log: Log
}
