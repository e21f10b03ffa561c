import { Generations } from './generations.ts'
import type { LocalLimiter, Rate } from './limiter.ts'
import type { LocalTools } from './token-bucket.ts'

/**
 * In how many slots a window is counted. A request counts until its slot has left the window whole: so never too many
 * get through, and an allowance comes back at most a twentieth of the window late.
 */
export const slots = 20

/** What one key has used: the requests of the current slot and of those before it that still count, in a ring. */
interface Used {
  readonly counts: number[]
  /** The slot written last, counted from the beginning of time. */
  slot: number
  total: number
}

/** Sliding windows in this process. */
export function createSlidingWindows(
  { requests, window }: Omit<Rate, 'algorithm'>,
  { time = () => performance.now(), capacity }: LocalTools = {},
): LocalLimiter {
  const width = window / slots
  const ring = slots + 1
  const windows = new Generations<Used>(window + width, time(), capacity)

  /** Lets go of the slots that have left the window since the last call. */
  function advance(used: Used, slot: number): void {
    const passed = Math.min(slot - used.slot, ring)
    for (let step = 1; step <= passed; step++) {
      const place = (used.slot + step) % ring
      used.total -= used.counts[place]!
      used.counts[place] = 0
    }
    used.slot = slot
  }

  /** When the oldest slot with something in it leaves. */
  function nextReturn({ counts, slot }: Used, now: number): number {
    for (let oldest = slot - slots; oldest <= slot; oldest++) {
      if (counts[(oldest + ring) % ring]! > 0) return (oldest + 1 + slots) * width - now
    }
    return 0
  }

  return {
    take: function takeFromWindow(key) {
      const now = time()
      const slot = Math.floor(now / width)
      let used = windows.get(key, now)
      if (used) advance(used, slot)
      else used = { counts: Array<number>(ring).fill(0), slot, total: 0 }
      if (used.total >= requests) return { allowed: false, remaining: 0, next: nextReturn(used, now) }
      used.counts[slot % ring]! += 1
      used.total += 1
      windows.set(key, used)
      return { allowed: true, remaining: requests - used.total, next: nextReturn(used, now) }
    },
    look: function lookAtWindow(key) {
      const now = time()
      const used = windows.get(key, now)
      if (!used) return { allowed: true, remaining: requests, next: 0 }
      advance(used, Math.floor(now / width))
      return { allowed: used.total < requests, remaining: requests - used.total, next: nextReturn(used, now) }
    },
  }
}
