import { Problem } from '../http/problem.ts'
import type { Step } from './state.ts'

/** Which row of the table answers? 404 when none does, and where only documented operations are exposed also 405. */
export function route(): Step {
  return function route(ctx, next) {
    const { gateway, head } = ctx.state
    const found = gateway.router.match(head.method, head.path)
    if (!found) throw new Problem('not-found', 'No service answers at this path')
    ctx.state.route = found.value
    ctx.state.found = found

    const { service } = found.value
    if (service.definition.expose === 'documented') {
      const operations = gateway.documents.operations(service.name)
      if (!operations) {
        throw new Problem(
          'starting',
          'The document of the service has not been read yet, so it is not known what it offers',
          {
            fields: { 'Retry-After': '1' },
          },
        )
      }
      if (!operations.match(head.method, head.path)) throw undocumented(operations.methods(head.path))
    }
    return next()
  }
}

function undocumented(methods: readonly string[]): Problem {
  if (methods.length === 0) return new Problem('not-found', 'The service has no documented operation at this path')
  const offered = methods.join(', ')
  return new Problem('method-not-allowed', `This path offers ${offered}`, { fields: { Allow: offered } })
}
