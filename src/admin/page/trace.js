import { element } from './dom.js'

/** The answer in one line, into the element that is read aloud. */
export function showAnswer(place, { request, outcome, problem, shadow }) {
  const target = request.query === undefined ? request.path : `${request.path}?${request.query}`
  const texts = {
    forwarded: 'goes through',
    answered: 'is answered by the gateway itself',
    refused: problem && `is refused: ${problem.status} ${problem.code}`,
    'sign-in': 'is sent to /login, where a session begins; a script is refused',
    composed: 'is composed of what the requests below bring',
    undecided: 'depends on a thing of the service, and nothing was sent to read it',
  }
  place.className = `answer ${outcome}`
  place.replaceChildren(
    element('strong', {}, `${request.method} ${target}`),
    ` ${texts[outcome]}`,
    ...(problem ? [element('span', { class: 'detail' }, problem.detail)] : []),
    ...(shadow
      ? [
          element(
            'span',
            { class: 'detail' },
            `would be refused (shadow): ${shadow.status} ${shadow.code}. ${shadow.detail}`,
          ),
        ]
      : []),
  )
}

/** Why: the parts of an explanation in the order in which they were found. */
export function showTrace(place, explanation) {
  place.replaceChildren(...partsOf(explanation))
}

function partsOf({ route, authentication, limits, authorization, forward, composition }) {
  return [
    ...(route ? [part('Route', routeOf(route))] : []),
    ...(authentication ? [part('Caller', authenticationOf(authentication))] : []),
    ...(limits ? [part('Limits', limitsOf(limits))] : []),
    ...(authorization ? [part('Allow', authorizationOf(authorization))] : []),
    ...(forward ? [part('Sent to the service', forwardOf(forward))] : []),
    ...(composition?.parts ?? []).map(composedOf),
  ]
}

function composedOf({ name, optional, needs, explanation }) {
  const title = `Part ${name}${optional ? ', optional' : ''}`
  if (!explanation) return part(title, [element('p', {}, `Depends on what ${needs.join(', ')} will bring.`)])
  const answer = element('p')
  showAnswer(answer, explanation)
  return part(title, [answer, ...partsOf(explanation)])
}

function part(title, content) {
  return element('section', {}, element('h3', {}, title), ...content)
}

const list = (items, name = 'ul') => element(name, { class: 'plain' }, items)
const item = (kind, ...content) => element('li', { class: kind }, ...content)

function routeOf({ id, parameters, losers }) {
  const reasons = { method: 'another method', 'less-specific': 'less specific' }
  return [
    element('p', {}, element('code', {}, id)),
    list([
      ...Object.entries(parameters).map(([name, value]) => item('note', `{${name}} is ${value}`)),
      ...losers.map((loser) => item('note', 'not ', element('code', {}, loser.id), `: ${reasons[loser.reason]}`)),
    ]),
  ]
}

const worth = {
  'last-known': 'what was known last decides',
  accept: 'what a signature says is believed',
  refuse: 'every credential is refused (503)',
}

function authenticationOf({ asks, caller, status, schemes, alternatives, storeOutage, unmet }) {
  if (asks === 'nobody') return [element('p', {}, 'The route is public: no credential is looked at.')]
  const rights = ['roles', 'permissions', 'scopes'].filter((kind) => caller?.[kind].length > 0)
  return [
    element(
      'p',
      {},
      caller ? element('strong', {}, caller.subject) : 'Nobody may call like this.',
      caller ? ` ${status}` : '',
    ),
    list(rights.map((kind) => item('note', `${kind}: ${caller[kind].join(', ')}`))),
    list(schemes.map(schemeOf)),
    list(alternatives.map(alternativeOf)),
    ...(unmet ? [element('p', { class: 'deny' }, `Missing ${unmet.kind}: ${unmet.missing.join(', ')}`)] : []),
    ...(storeOutage ? [element('p', {}, `While the store is out: ${worth[storeOutage]}.`)] : []),
  ]
}

function limitsOf({ plan, rules, concurrent, body }) {
  return [
    plan !== undefined && element('p', {}, 'The plan of the caller is ', element('strong', {}, plan), '.'),
    rules.length === 0 && element('p', {}, 'Any number of requests, as far as limits go.'),
    list(rules.map(ruleOf)),
    list([
      concurrent &&
        item(
          'note',
          `At once ${concurrent.limit}, and ${concurrent.queue} more wait; now ${concurrent.active} are under way and ${concurrent.waiting} wait`,
        ),
      item('note', `A body has at most ${sizeOf(body)}`),
    ]),
  ].filter(Boolean)
}

function ruleOf({ name, kind, by, requests, seconds, per, remaining, next, violated }) {
  const spent = violated || remaining === 0
  const left = [
    ` ${remaining} left`,
    next > 0 && (remaining === 0 ? `, the next in ${next} s` : `, more in ${next} s`),
    element('meter', { min: 0, max: requests, value: remaining, 'aria-label': `left of ${name}` }),
  ].filter(Boolean)
  return item(
    spent ? 'deny' : 'permit',
    element('b', {}, name),
    ` ${requests} ${kind === 'quota' ? `a ${per}` : `in ${seconds} s`}, by ${by}.`,
    ...(violated ? [' It was used up.'] : []),
    ...(remaining === undefined ? [] : left),
  )
}

function sizeOf(bytes) {
  const [unit, size] = [
    ['MB', 1_048_576],
    ['kB', 1_024],
  ].find(([, size]) => bytes >= size) ?? ['bytes', 1]
  return `${Math.round((bytes / size) * 10) / 10} ${unit}`
}

function schemeOf({ scheme, location, verdict, reason, detail, found, simulated, steps }) {
  const texts = {
    accepted: simulated ? 'accepted, simulated' : 'accepted',
    absent: `not sent (${location.in} ${location.name})`,
    rejected: `rejected: ${reason}. ${detail}${found === undefined ? '' : ` Found: ${found}.`}`,
  }
  const kinds = { accepted: 'permit', absent: 'note', rejected: 'deny' }
  return item(kinds[verdict], element('code', {}, scheme), ` ${texts[verdict]}`, steps && stepsOf(steps))
}

/** The checks of a token in order. */
export function stepsOf(steps) {
  const kinds = { passed: 'permit', failed: 'deny', unreached: 'note' }
  return list(
    steps.map(({ step, verdict, text }) =>
      item(kinds[verdict], element('b', {}, step), verdict === 'unreached' ? ' not reached' : ` ${text}`),
    ),
    'ol',
  )
}

function alternativeOf({ requirement, verdict, missing }) {
  const names = Object.entries(requirement).map(([scheme, wanted]) =>
    wanted.length > 0 ? `${scheme} (${wanted.join(', ')})` : scheme,
  )
  const texts = { decides: 'decides who calls', holds: 'holds as well', lacks: 'is not enough', fails: 'does not hold' }
  const kinds = { decides: missing ? 'deny' : 'permit', holds: 'note', lacks: 'deny', fails: 'note' }
  const name = names.length > 0 ? names.join(' and ') : 'nobody in particular'
  return item(
    kinds[verdict],
    'alternative ',
    element('code', {}, name),
    ` ${texts[verdict]}${missing ? `; missing ${missing.join(', ')}` : ''}`,
  )
}

function authorizationOf({ policies }) {
  if (policies.length === 0) return [element('p', {}, 'Nothing more is asked of the caller.')]
  return policies.map(({ shadow, blocks }) =>
    list(
      blocks.flatMap(({ pointer, rows }) =>
        rows.map(({ pointer: row, verdict, needs, term }) =>
          item(
            verdict,
            element('b', {}, row.slice(pointer.length + 1)),
            blocks.length > 1 ? ` of block ${Number(pointer.slice(1)) + 1}: ` : ' ',
            needs,
            shadow ? ' (shadow: refuses nobody)' : '',
            term && element('ul', { class: 'terms' }, termOf(term)),
          ),
        ),
      ),
    ),
  )
}

function termOf({ text, value, error, skipped, children }) {
  const outcome = error === undefined ? JSON.stringify(value) : error
  const kind = skipped
    ? 'skipped'
    : error !== undefined || value === false
      ? 'deny'
      : value === true
        ? 'permit'
        : 'value'
  return element(
    'li',
    { class: kind },
    element('code', {}, text),
    element('span', { class: 'outcome' }, ` is ${outcome}${skipped ? ', not needed' : ''}`),
    children.length > 0 && element('ul', { class: 'terms' }, children.map(termOf)),
  )
}

function forwardOf({ method, urls, credentials, fields }) {
  return [
    element(
      'p',
      {},
      element('code', {}, `${method} ${urls[0]}`),
      urls.length > 1 ? ` or ${urls.length - 1} more` : '',
      `, credentials: ${credentials}`,
    ),
    element(
      'div',
      { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Header fields' },
      element(
        'table',
        {},
        element(
          'thead',
          {},
          element('tr', {}, ...['From', 'Field', 'Value'].map((text) => element('th', { scope: 'col' }, text))),
        ),
        element(
          'tbody',
          {},
          fields.map(({ name, value, from }) =>
            element(
              'tr',
              {},
              element('td', {}, from),
              element('th', { scope: 'row' }, name),
              element('td', {}, element('code', {}, value)),
            ),
          ),
        ),
      ),
    ),
  ]
}
