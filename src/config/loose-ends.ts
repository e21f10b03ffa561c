import { splitMatch } from './check.ts'
import type { Fault } from './load.ts'
import type { Definition, ServiceDefinition } from './schema.ts'

/** What is allowed and works, and is probably not what was meant. */
export function looseEnds(definition: Definition): readonly Fault[] {
  return [...unguardedTops(definition), ...openChecks(definition)]
}

/** `enforce` that says nothing of what cannot be checked. */
function openChecks({ services }: Definition): readonly Fault[] {
  const message =
    'a request that cannot be checked passes, and a larger or a coded body is enough for that; say "unchecked": "refuse", or "pass" where that is meant'
  const isOpen = ({ validate }: Pick<ServiceDefinition, 'validate'>) =>
    validate?.mode === 'enforce' && validate.unchecked === undefined
  return services.flatMap((service, index) => [
    ...(isOpen(service) ? [{ path: ['services', index, 'validate'], message }] : []),
    ...service.routes.flatMap((route, at) =>
      isOpen(route) ? [{ path: ['services', index, 'routes', at, 'validate'], message }] : [],
    ),
  ])
}

/** Patterns that guard what is below a path, and not the path itself. */
function unguardedTops({ services }: Definition): readonly Fault[] {
  return services.flatMap((service, index) =>
    service.routes.flatMap(({ match, security, allow, override }, at): readonly Fault[] => {
      const { method, template: path } = splitMatch(match)
      // An override may loosen; then the path itself is the stricter one.
      const guards = !override && (allow !== undefined || (security !== undefined && security.length > 0))
      if (!guards || !path.endsWith('/*')) return []
      const top = path.slice(0, -2)
      if (isGuarded(service, method, top)) return []
      const [here, meant] = [`${service.path === '/' ? '' : service.path}${top}`, top === '' ? '/' : top]
      return [
        {
          path: ['services', index, 'routes', at, 'match'],
          message: `"${match}" guards what is below ${here}/, and neither ${here || '/'} nor ${here}/ themselves, for which the rules of the service hold; for those add a route "${method === '*' ? '' : `${method} `}${meant}" with the same rules`,
        },
      ]
    }),
  )
}

/** Whether a row of its own says what holds for a path, with or without a slash at its end. */
function isGuarded({ routes }: ServiceDefinition, method: string, top: string): boolean {
  const shape = shapeOf(top)
  return routes.some((route) => {
    const other = splitMatch(route.match)
    return (other.method === '*' || other.method === method) && shapeOf(other.template.replace(/\/$/, '')) === shape
  })
}

/** Letters count alike, and so do names of parameters. */
const shapeOf = (path: string) => path.toLowerCase().replace(/\{[^}]*\}/g, '{}')
