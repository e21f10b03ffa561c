import type { Decisions } from '../gateway/decisions.ts'
import { explainRefusal } from '../gateway/explain.ts'
import type { Explanation } from '../gateway/explanation.ts'
import type { Problem } from '../http/problem.ts'
import type { Tools } from '../tools.ts'
import type { State } from './state.ts'

/** The answers that somebody will ask about. */
const asked: ReadonlySet<number> = new Set([401, 403, 429])

/** Keeps why a request was refused, for `GET /decisions/{id}` on the admin port; the id is in the problem's body. */
export function keepRefusal(decisions: Decisions, { now, log }: Tools) {
  function explain(state: State, problem: Problem): Explanation {
    const { refusedPart: part, composition } = state
    if (!part || composition === undefined) return explainRefusal({ ...state, problem }, now())
    const explanation = explainRefusal({ ...part.state, problem: part.problem }, now())
    return {
      ...explainRefusal({ ...state, problem }, now()),
      problem: explanation.problem!,
      composition: { id: composition, parts: [{ name: part.name, optional: false, needs: [], explanation }] },
    }
  }

  return function keepRefusal(state: State, problem: Problem): void {
    if (!asked.has(problem.status) || state.head === undefined) return
    try {
      decisions.keep(state.id, explain(state, problem))
    } catch (error) {
      // The refusal itself must not fail because it cannot be told.
      log.error({ err: error, id: state.id }, 'a refusal could not be explained')
    }
  }
}
