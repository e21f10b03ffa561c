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

    const exposed = found.value.service.exposed()
    if (exposed && !exposed.match(head.method, head.path)) {
      const methods = exposed.methods(head.path)
      if (methods.length === 0) throw new Problem('not-found', 'The service has no documented operation at this path')
      throw new Problem('method-not-allowed', `This path offers ${methods.join(', ')}`, {
        fields: { Allow: methods.join(', ') },
      })
    }
    return next()
  }
}
