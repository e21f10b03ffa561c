import type { Lines } from '../http/fields.ts'
import type { Lifetime } from './rules.ts'

/** An answer that is kept. */
export interface KeptAnswer {
  readonly status: number
  /** As they go to clients, `Content-Length` included, without what belongs to one answer alone. */
  readonly fields: Lines
  readonly content: Buffer
  readonly lifetime: Lifetime
  /** When it came, in milliseconds since the epoch. */
  readonly since: number
  /** The fields that chose it, and what the request said there. */
  readonly vary: ReadonlyMap<string, string | undefined>
}

export interface Request {
  /** The value of a field of the request, by lower-case name. */
  get(name: string): string | undefined
}

/** What was learned of a target: for whom its answers are, or that none is kept. */
export type Habit = 'shared' | 'private' | 'never'

/** Kept answers by target and partition, the least recently used ones gone when they take too much. */
export interface Answers {
  /** The newest kept answer that was chosen by the same fields. */
  find(target: string, partition: string, request: Request): KeptAnswer | undefined
  /** `asked`: what `changes` was before the service was asked; an answer from before a change of its target is not kept. */
  keep(target: string, partition: string, answer: KeptAnswer, asked: number): void
  /** What is at the target has changed, whatever its query (RFC 9111 §4.4). */
  forget(target: string): void
  /** How often something was forgotten. */
  readonly changes: number
  habit(target: string): Habit | undefined
  learn(target: string, habit: Habit): void
  /** Bytes in use. */
  readonly size: number
}

const mostVariants = 16
const mostHabits = 10_000
/** Characters; nothing is learned of longer ones, which anybody can send as many of as they like. */
const longestTarget = 1_024
/** How long a target is taken for one whose answers are not kept. */
const memory = 10_000

interface Slot {
  readonly target: string
  variants: readonly KeptAnswer[]
  size: number
}

/** `limit` in bytes. */
export function createAnswers(limit: number, now: () => number): Answers {
  /** In the order of use. */
  const slots = new Map<string, Slot>()
  const byPath = new Map<string, Set<string>>()
  const forgotten = new Map<string, number>()
  const habits = new Map<string, { readonly habit: Habit; readonly until: number }>()
  let size = 0
  let changes = 0

  return {
    find(target, partition, request) {
      const key = keyOf(target, partition)
      const slot = slots.get(key)
      if (!slot) return undefined
      slots.delete(key)
      slots.set(key, slot)
      return slot.variants.find(({ vary }) => fits(vary, request))
    },

    keep(target, partition, answer, asked) {
      const path = pathOf(target)
      if ((forgotten.get(path) ?? 0) > asked) return
      const key = keyOf(target, partition)
      const slot = slots.get(key) ?? { target, variants: [], size: 0 }
      remove(key)
      const others = slot.variants.filter(({ vary }) => !isSame(vary, answer.vary))
      slot.variants = [answer, ...others].slice(0, mostVariants)
      slot.size = slot.variants.reduce((sum, variant) => sum + sizeOf(variant), 2 * key.length)
      if (slot.size > limit) return
      slots.set(key, slot)
      size += slot.size
      const keys = byPath.get(path)
      if (keys) keys.add(key)
      else byPath.set(path, new Set([key]))
      for (const oldest of slots.keys()) {
        if (size <= limit) break
        remove(oldest)
      }
    },

    forget(target) {
      const path = pathOf(target)
      for (const key of [...(byPath.get(path) ?? [])]) remove(key)
      changes += 1
      forgotten.delete(path)
      forgotten.set(path, changes)
      if (forgotten.size > mostHabits) forgotten.delete(forgotten.keys().next().value!)
    },

    habit(target) {
      const known = habits.get(target)
      return known && known.until > now() ? known.habit : undefined
    },

    learn(target, habit) {
      if (target.length > longestTarget) return
      habits.delete(target)
      habits.set(target, { habit, until: habit === 'never' ? now() + memory : Number.POSITIVE_INFINITY })
      if (habits.size > mostHabits) habits.delete(habits.keys().next().value!)
    },

    get changes() {
      return changes
    },

    get size() {
      return size
    },
  }

  function remove(key: string): void {
    const slot = slots.get(key)
    if (!slot) return
    slots.delete(key)
    size -= slot.size
    const path = pathOf(slot.target)
    const keys = byPath.get(path)!
    keys.delete(key)
    if (keys.size === 0) byPath.delete(path)
  }
}

/** No target has a line break. */
const keyOf = (target: string, partition: string) => `${target}\n${partition}`

const pathOf = (target: string) => target.split('?', 1)[0]!

function fits(vary: KeptAnswer['vary'], request: Request): boolean {
  for (const [name, value] of vary) if (request.get(name) !== value) return false
  return true
}

function isSame(one: KeptAnswer['vary'], other: KeptAnswer['vary']): boolean {
  return one.size === other.size && fits(one, other)
}

/** What objects and strings take beside their characters, roughly. */
const overhead = 600

function sizeOf({ fields, content, vary }: KeptAnswer): number {
  let size = overhead + content.length
  for (const text of fields) size += text.length + 16
  for (const [name, value] of vary) size += name.length + (value?.length ?? 0) + 100
  return size
}
