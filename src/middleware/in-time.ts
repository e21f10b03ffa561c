import type { Problem } from '../http/problem.ts'

/** The work, or a `Problem` when it takes more than so many milliseconds; what it comes to after that is nobody's. */
export function inTime<T>(work: Promise<T>, milliseconds: number, problem: () => Problem): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => reject(problem()), milliseconds)
  return Promise.race([work, late]).finally(() => clearTimeout(timer))
}
