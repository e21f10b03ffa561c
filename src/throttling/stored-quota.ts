import { hash } from 'node:crypto'
import { type Store, StoreUnavailable } from '../store/store.ts'
import type { Log } from '../telemetry/log.ts'
import { createCalendar } from './calendar.ts'
import { Generations } from './generations.ts'
import type { CalendarQuota, Limiter, Standing } from './limiter.ts'

export interface StoredQuotaTools {
  readonly store: Store
  readonly log: Log
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Called when a quota had to be counted without the store. */
  readonly onAlone?: (() => void) | undefined
}

/** A quota whose counts lie in the store. */
export interface StoredQuota extends Limiter {
  /** Gives back what was drawn from the store and not used. */
  close(): Promise<void>
}

export const collection = 'quotas'

/** A draw is this part of what is left, and never more than so many requests. */
const part = 50
const mostDrawn = 1_000
/** Other processes that draw at the same time; each try costs one of them a step. */
const mostTries = 50
/** Keys whose rest is given back at the end: the way out of a process is short. */
const mostReturned = 2_000

const day = 86_400_000

/** What this process knows of one key. */
interface Account {
  period: string
  /** Drawn from the store and not used yet. */
  left: number
  /** Not drawn by anybody, when the store was last asked. */
  beyond: number
  /** Let through while the store was out, and still to be written down. */
  owed: number
  drawing: Promise<void> | undefined
}

/**
 * Requests in each day or month of UTC, in the store of a single machine: they survive a restart, and processes that
 * share the store count together.
 *
 * A write for every request would be a disk that spins for every request. So a process draws a small part of what is
 * left at a time and serves from it; near the end it draws one by one. Never too many get through; a process that is
 * killed loses what it has drawn, at most a fiftieth of what was left.
 */
export function createStoredQuota(
  name: string,
  { requests, period }: CalendarQuota,
  { store, log, now, onAlone }: StoredQuotaTools,
): StoredQuota {
  const periodOf = createCalendar(period)
  const accounts = new Generations<Account>(day, now())
  let alone = false

  const rowOf = (key: string, periodName: string) =>
    `${name}:${periodName}:${hash('sha256', key, 'base64url').slice(0, 22)}`

  function accountOf(key: string, periodName: string, at: number): Account {
    let account = accounts.get(key, at)
    if (account?.period !== periodName) {
      account = { period: periodName, left: 0, beyond: requests, owed: 0, drawing: undefined }
    }
    accounts.set(key, account)
    return account
  }

  /** Takes one if this process has one, or knows that there is none; undefined when the store must be asked. */
  function takeNow(account: Account, next: number): Standing | undefined {
    if (account.left > 0) {
      account.left -= 1
      return { allowed: true, remaining: account.left + account.beyond, next }
    }
    return account.beyond <= 0 ? { allowed: false, remaining: 0, next } : undefined
  }

  async function takeLater(key: string, account: Account, next: number): Promise<Standing> {
    for (;;) {
      account.drawing ??= draw(key, account).finally(() => {
        account.drawing = undefined
      })
      await account.drawing
      const standing = takeNow(account, next)
      if (standing) return standing
    }
  }

  async function draw(key: string, account: Account): Promise<void> {
    const row = rowOf(key, account.period)
    try {
      const { used, size } = await move(row, (before) => {
        const rest = requests - before - account.owed
        return account.owed + (rest <= 0 ? 0 : Math.min(mostDrawn, Math.ceil(rest / part)))
      })
      account.left += size - account.owed
      account.beyond = Math.max(0, requests - used)
      account.owed = 0
      alone = false
    } catch (error) {
      if (!(error instanceof StoreUnavailable)) throw error
      onAlone?.()
      if (!alone) log.warn({ err: error }, 'quotas are counted by each process alone until the store answers again')
      alone = true
      const size = Math.min(account.beyond, Math.max(1, Math.ceil(account.beyond / part)))
      account.left += size
      account.beyond -= size
      account.owed += size
    }
  }

  /** Changes what stands in the store, however many are at it. */
  async function move(row: string, change: (used: number) => number): Promise<{ used: number; size: number }> {
    const { end } = periodOf(now())
    // A day longer than the period, for clocks that go wrong.
    const options = { expiresAt: Math.ceil((end + day) / 1_000) }
    for (let attempt = 0; attempt < mostTries; attempt += 1) {
      const entry = await store.get<number>(collection, row)
      const before = entry?.value ?? 0
      const size = change(before)
      const used = Math.max(0, before + size)
      if (size === 0) return { used, size }
      const written = entry
        ? await store.replace(collection, row, entry.revision, used, options)
        : await store.create(collection, row, used, options)
      if (written) return { used, size }
    }
    throw new StoreUnavailable('too many processes draw from one quota at once')
  }

  return {
    take: function takeFromQuota(key) {
      const at = now()
      const { name: periodName, end } = periodOf(at)
      const account = accountOf(key, periodName, at)
      return takeNow(account, end - at) ?? takeLater(key, account, end - at)
    },
    async look(key) {
      const at = now()
      const { name: periodName, end } = periodOf(at)
      const account = accounts.get(key, at)
      const mine = account?.period === periodName ? account.left - account.owed : 0
      try {
        const used = (await store.get<number>(collection, rowOf(key, periodName)))?.value ?? 0
        const remaining = Math.max(0, requests - used + mine)
        return { allowed: remaining > 0, remaining, next: end - at }
      } catch (error) {
        if (!(error instanceof StoreUnavailable)) throw error
        return undefined
      }
    },
    async close() {
      const { name: periodName } = periodOf(now())
      let returned = 0
      for (const [key, account] of accounts.entries()) {
        if (account.period !== periodName || account.left === account.owed) continue
        if (returned === mostReturned) break
        returned += 1
        const rest = account.left - account.owed
        account.left = account.owed = 0
        try {
          await move(rowOf(key, periodName), () => -rest)
        } catch (error) {
          if (!(error instanceof StoreUnavailable)) throw error
          return
        }
      }
    },
  }
}
