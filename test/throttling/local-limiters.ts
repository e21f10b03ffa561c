import { createMemoryStore } from '../../src/store/memory.ts'
import { silent } from '../../src/telemetry/log.ts'
import type { Limiters } from '../../src/throttling/limiter.ts'
import { createLocalLimiters, type LocalLimiterTools } from '../../src/throttling/local-limiters.ts'

/** The limiters of one process, on a store of its own. */
export function localLimiters(tools: Partial<LocalLimiterTools> = {}): Limiters {
  const { now = Date.now } = tools
  return createLocalLimiters({ store: createMemoryStore({ now, log: silent }), log: silent, now, ...tools })
}
