import { formatTerm } from '../authorization/explain.ts'
import type {
  ExplainedAlternative,
  ExplainedAuthentication,
  ExplainedAuthorization,
  ExplainedForward,
  ExplainedLimits,
  ExplainedPart,
  ExplainedRoute,
  ExplainedScheme,
  Explanation,
} from '../gateway/explanation.ts'

const marks = { passed: '✓', failed: '✗', unreached: '·', permit: '✓', deny: '✗', undecided: '?' } as const

/** An explanation for a person at a terminal: the answer first, then what led to it, in the order it was found. */
export function formatExplanation(explanation: Explanation): string {
  const { request, outcome, problem, shadow, route, authentication, limits, authorization, forward, composition } =
    explanation
  const target = request.query === undefined ? request.path : `${request.path}?${request.query}`
  const answer = {
    forwarded: 'is forwarded',
    refused: `is refused: ${problem?.status} ${problem?.code}`,
    answered: 'is answered by the gateway itself',
    'sign-in': 'is sent to /login, where a session begins; a script is refused',
    composed: 'is composed of what the requests below bring',
    undecided: 'depends on a thing of the service that was not read: say what it is with --resource',
  }[outcome]
  return [
    `${request.method} ${target} ${answer}`,
    ...(problem ? [`  ${problem.detail}${problem.row === undefined ? '' : ` (${problem.row})`}`] : []),
    ...(shadow
      ? [
          `  would be refused (shadow): ${shadow.status} ${shadow.code}`,
          `  ${shadow.detail}${shadow.row === undefined ? '' : ` (${shadow.row})`}`,
        ]
      : []),
    ...section('route', route && routeLines(route)),
    ...section('caller', authentication && authenticationLines(authentication)),
    ...section('limits', limits && isLimited(limits) ? limitLines(limits) : undefined),
    ...section('allow', authorization && authorizationLines(authorization)),
    ...section('sent', forward && forwardLines(forward)),
    ...(composition?.parts ?? []).flatMap(partLines),
  ].join('\n')
}

const readings = {
  read: 'read',
  hidden: 'not shown to the caller',
  failed: 'could not be read',
  unread: 'not read',
} as const

function partLines({ name, optional, needs, explanation }: ExplainedPart): readonly string[] {
  const title = `PART ${name}${optional ? ', optional' : ''}`
  if (!explanation) return ['', title, `  depends on what ${needs.join(', ')} will bring`]
  return [
    '',
    title,
    ...formatExplanation(explanation)
      .split('\n')
      .map((line) => (line === '' ? '' : `  ${line}`)),
  ]
}

function section(title: string, lines: readonly string[] | undefined): readonly string[] {
  return lines ? ['', title.toUpperCase(), ...lines.map((line) => `  ${line}`)] : []
}

function routeLines({ id, parameters, expose, losers }: ExplainedRoute): readonly string[] {
  const reasons = { method: 'is for another method', 'less-specific': 'is less specific' }
  const values = Object.entries(parameters).map(([name, value]) => `{${name}} = ${value}`)
  return [
    id,
    ...values,
    ...(expose === 'documented' ? ['only what the document lists is exposed'] : []),
    ...losers.map((loser) => `not ${loser.id}: it ${reasons[loser.reason]}`),
  ]
}

const worth = {
  'last-known': 'what was known last decides',
  accept: 'what a signature says is believed',
  refuse: 'every credential is refused (503)',
} as const

function authenticationLines(authentication: ExplainedAuthentication): readonly string[] {
  const { asks, schemes, alternatives, storeOutage, caller, status, unmet } = authentication
  if (asks === 'nobody') return ['the route is public: nobody is asked, no credential is looked at']
  return [
    caller ? `${caller.subject} (${status})` : 'nobody may call like this',
    ...(caller
      ? (['roles', 'permissions', 'scopes'] as const).flatMap((kind) =>
          caller[kind].length > 0 ? [`${kind}: ${caller[kind].join(', ')}`] : [],
        )
      : []),
    ...schemes.flatMap(schemeLines),
    ...alternatives.map(alternativeLine),
    ...(unmet ? [`${unmet.scheme} lacks the ${unmet.kind} ${unmet.missing.join(', ')}`] : []),
    ...(storeOutage ? [`while the store is out: ${worth[storeOutage]}`] : []),
  ]
}

/** The size of a body is limited everywhere. */
function isLimited({ plan, rules, concurrent }: ExplainedLimits): boolean {
  return plan !== undefined || rules.length > 0 || concurrent !== undefined
}

/** Without what is left of them: a command counts nothing. */
function limitLines({ plan, rules, concurrent, body }: ExplainedLimits): readonly string[] {
  return [
    ...(plan === undefined ? [] : [`plan ${plan}`]),
    ...rules.map((rule) => {
      const time = rule.kind === 'quota' ? `a ${rule.per}` : `in ${rule.seconds} s`
      const origin = rule.plan === undefined ? '' : `, of the plan ${rule.plan}`
      return `${rule.name}: ${rule.requests} ${time}, by ${rule.by}${origin}`
    }),
    ...(concurrent ? [`at once: ${concurrent.limit}, and ${concurrent.queue} more wait`] : []),
    `body: at most ${body} bytes`,
  ]
}

function schemeLines({ scheme, location, verdict, reason, detail, found, simulated, steps }: ExplainedScheme) {
  const place = location.in === 'header' ? location.name : `${location.in} ${location.name}`
  const texts = {
    accepted: `accepted${simulated ? ', simulated' : ''}`,
    absent: `not sent (${place})`,
    rejected: `rejected: ${reason}. ${detail}${found === undefined ? '' : ` Found: ${found}.`}`,
  }
  const taken = steps?.filter((step) => step.verdict !== 'unreached') ?? []
  const width = Math.max(0, ...taken.map(({ step }) => step.length))
  return [
    `scheme ${scheme} ${texts[verdict]}`,
    ...taken.map(({ step, verdict: passed, text }) => `  ${marks[passed]} ${step.padEnd(width)}  ${text}`),
  ]
}

function alternativeLine({ requirement, verdict, missing }: ExplainedAlternative): string {
  const parts = Object.entries(requirement).map(([scheme, names]) =>
    names.length > 0 ? `${scheme}(${names.join(', ')})` : scheme,
  )
  const name = parts.length > 0 ? parts.join(' and ') : 'nobody in particular'
  const texts = {
    decides: 'decides who calls',
    holds: 'holds as well',
    lacks: 'is not enough',
    fails: 'does not hold',
  }
  const lacking = missing ? `; missing: ${missing.join(', ')}` : ''
  return `alternative ${name} ${texts[verdict]}${lacking}`
}

function authorizationLines({ policies }: ExplainedAuthorization): readonly string[] {
  if (policies.length === 0) return ['nothing more is asked of the caller']
  return policies.flatMap(({ shadow, blocks }) =>
    blocks.flatMap(({ pointer, rows }) =>
      rows.flatMap(({ pointer: row, verdict, needs, resource, term }) => [
        `${marks[verdict]} ${row.slice(pointer.length + 1)}${blocks.length > 1 ? ` of block ${pointer.slice(1)}` : ''}: ${needs}${shadow ? ' (shadow: refuses nobody)' : ''}`,
        ...(resource ? [`    resource  GET ${resource.get}: ${readings[resource.outcome]}`] : []),
        ...(term ? formatTerm(term, '    ') : []),
      ]),
    ),
  )
}

function forwardLines({ method, urls, canary, mirror, credentials, fields }: ExplainedForward): readonly string[] {
  const width = Math.max(0, ...fields.map(({ from }) => from.length))
  return [
    `${method} ${urls[0]}${urls.length > 1 ? ` or ${urls.length - 1} more` : ''}${canary ? ' (canary)' : ''}, credentials: ${credentials}`,
    ...(mirror === undefined ? [] : [`a copy may go to ${mirror}`]),
    ...fields.map(({ name, value, from }) => `${from.padEnd(width)}  ${name}: ${value}`),
  ]
}
