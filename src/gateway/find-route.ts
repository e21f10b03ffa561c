import { Problem } from '../http/problem.ts'
import type { Gateway, Route } from './gateway.ts'
import type { Found } from './router.ts'

/**
 * Which row of the table answers? Throws 404 when none does, 405 where a composition answers GET alone, and where only
 * documented operations are exposed also 405, or 503 while the document has never been read. `path` is canonical.
 */
export function findRoute(
  gateway: Pick<Gateway, 'router' | 'compositions' | 'documents'>,
  { method, path }: { readonly method: string; readonly path: string },
): Found<Route> {
  const found = gateway.router.match(method, path)
  if (!found) {
    const methods = gateway.compositions.methods(path)
    throw methods.length === 0 ? new Problem('not-found', 'No service answers at this path') : offering(methods)
  }
  const { service } = found.value
  if (service.definition.expose !== 'documented') return found
  const operations = gateway.documents.operations(service.name)
  if (!operations) {
    throw new Problem(
      'starting',
      'The document of the service has not been read yet, so it is not known what it offers',
      { fields: { 'Retry-After': '1' } },
    )
  }
  if (!operations.match(method, path)) throw undocumented(operations.methods(path))
  return found
}

function undocumented(methods: readonly string[]): Problem {
  if (methods.length === 0) return new Problem('not-found', 'The service has no documented operation at this path')
  return offering(methods)
}

function offering(methods: readonly string[]): Problem {
  const offered = methods.join(', ')
  return new Problem('method-not-allowed', `This path offers ${offered}`, { fields: { Allow: offered } })
}
