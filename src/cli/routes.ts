import type { AllowDefinition } from '../authorization/allow.ts'
import { splitMatch } from '../config/check.ts'
import { loadDefinition } from '../config/load.ts'
import type { Definition, LimitsDefinition, RouteDefinition, ServiceDefinition } from '../config/schema.ts'
import { enforcementOf } from '../gateway/enforcement.ts'
import { type Command, UsageError } from './command.ts'
import { tableOf } from './table.ts'

export interface RouteRow {
  readonly method: string
  readonly path: string
  readonly service: string
  /** Alternatives, each a set; `public` when nobody is asked. */
  readonly security: string
  readonly allow: string
  /** `100/1m by caller, 200 at once`; what is not said is left out. */
  readonly limits: string
}

/** The table of routes as it is enforced. */
export const routes: Command = {
  usage: 'routes',
  summary: 'the table of routes: match, service, security, allow, limits',
  async run(words, { config, json }, { environment, out }) {
    if (words.length > 0) throw new UsageError(`routes takes no "${words[0]}"`)
    const rows = rowsOf(await loadDefinition(config, environment))
    out(json ? JSON.stringify(rows) : formatTable(rows))
    return 0
  },
}

export function rowsOf(definition: Definition): readonly RouteRow[] {
  return definition.services.flatMap((service) => [
    ...service.routes.map((route) => rowOf(definition, service, route)),
    rowOf(definition, service, undefined),
  ])
}

function rowOf(definition: Definition, service: ServiceDefinition, route: RouteDefinition | undefined): RouteRow {
  const { method, template } = route ? splitMatch(route.match) : { method: '*', template: '/*' }
  const { security, namesInShadow, allows } = enforcementOf(definition, service, route)
  return {
    method,
    path: `${service.path === '/' ? '' : service.path}${template}`,
    service: service.name,
    security:
      security.length === 0 ? 'public' : `${security.map(alternative).join(' | ')}${namesInShadow ? ' (shadow)' : ''}`,
    allow: allows.map(({ allow, shadow }) => `${describeAllow(allow)}${shadow ? ' (shadow)' : ''}`).join(' and '),
    limits: describeLimits({ ...definedOnly(service.limits), ...definedOnly(route?.limits) }),
  }
}

function alternative(set: Readonly<Record<string, readonly string[]>>): string {
  const parts = Object.entries(set).map(([scheme, names]) =>
    names.length > 0 ? `${scheme}(${names.join(',')})` : scheme,
  )
  return parts.length === 0 ? 'anonymous' : parts.join('+')
}

function describeAllow(allow: AllowDefinition): string {
  const blocks = Array.isArray(allow) ? allow : [allow]
  return blocks
    .map((block) =>
      Object.entries(block)
        .filter(([, value]) => value !== undefined)
        .map(([row, value]) => `${row} ${textOf(value!)}`)
        .join(' & '),
    )
    .join(' | ')
}

function describeLimits({ rate = [], quota = [], plans = true, concurrent, body }: LimitsDefinition): string {
  return [
    ...rate.map(
      ({ requests, per, by, algorithm }) =>
        `${requests}/${durationText(per)} by ${by}${algorithm === 'sliding-window' ? ' (sliding window)' : ''}`,
    ),
    ...quota.map(({ requests, per, by }) => `${requests}/${per} by ${by}`),
    ...(plans ? [] : ['no plans']),
    ...(concurrent ? [`${concurrent.limit} at once`] : []),
    ...(body === undefined ? [] : [`body ${body} bytes`]),
  ].join(', ')
}

/** As in services.json, with the largest unit that leaves a whole number. */
function durationText(milliseconds: number): string {
  for (const [unit, length] of [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['m', 60_000],
  ] as const) {
    if (milliseconds % length === 0) return `${milliseconds / length}${unit}`
  }
  return `${milliseconds / 1_000}s`
}

function definedOnly(limits: LimitsDefinition | undefined): LimitsDefinition {
  return Object.fromEntries(Object.entries(limits ?? {}).filter(([, value]) => value !== undefined))
}

function textOf(value: string | readonly string[] | { readonly get: string }): string {
  if (typeof value === 'string') return value
  return 'get' in value ? `GET ${value.get}` : value.join(',')
}

function formatTable(rows: readonly RouteRow[]): string {
  const columns = ['method', 'path', 'service', 'security', 'allow', 'limits'] as const
  const table = [
    columns.map((column) => column.toUpperCase()),
    ...rows.map((row) => columns.map((column) => row[column])),
  ]
  return tableOf(table)
}
