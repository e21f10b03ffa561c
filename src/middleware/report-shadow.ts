import type { Denial } from '../gateway/decide.ts'
import type { Decisions } from '../gateway/decisions.ts'
import { explainShadow } from '../gateway/explain.ts'
import type { Problem } from '../http/problem.ts'
import type { Metrics } from '../telemetry/metrics.ts'
import type { Tools } from '../tools.ts'
import type { State } from './state.ts'

/**
 * What `"enforce": "shadow"` would have refused: counted by operation and row, one line in the log, and kept for
 * `GET /decisions/{id}` with its reasons. The request goes on.
 */
export function reportShadow(decisions: Decisions, metrics: Metrics, { now, log }: Tools) {
  return function reportShadow(state: State, { row }: Denial, refusal: Problem): void {
    const { id, gateway, head, route, identification, resources } = state
    const operation = operationOf(state)
    const { status, code } = refusal
    metrics.triedInVain(route.service.name, operation, row)
    log.info(
      { id, route: route.id, operation, row, status, problem: code, subject: identification.caller.subject },
      'would be refused, if what is in shadow were enforced',
    )
    try {
      const { found } = state
      decisions.keep(id, explainShadow({ gateway, head, found, identification, resources, refusal }, now()))
    } catch (error) {
      // What is only tried must not be able to fail a request.
      log.error({ err: error, id }, 'a refusal in shadow could not be explained')
    }
  }
}

/** As the service's document has it, or else the row of the table: never a path that a client made up. */
function operationOf({ gateway, head, route }: State): string {
  const found = gateway.documents.operations(route.service.name)?.match(head.method, head.path)
  if (!found) return route.id
  const { document, index } = found.value
  const { method, published } = document.operations[index]!
  return `${method} ${published}`
}
