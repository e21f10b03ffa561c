import { ask, byId, element } from './dom.js'
import { showAnswer, showTrace } from './trace.js'

const methods = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']
/** Milliseconds of rest after the last key. */
const rest = 200
const example = { subject: 'ada', roles: ['editor'], permissions: [], scopes: [] }

/** The form and its answer, which follows every change. */
export function startSimulator() {
  byId('method').replaceChildren(...methods.map((method) => element('option', {}, method)))
  byId('claims').value = textOf(example)
  listOperations().catch(say)
  listPersonas().catch(say)

  const form = byId('simulator-form')
  let timer
  form.addEventListener('submit', (event) => event.preventDefault())
  form.addEventListener('input', (event) => {
    if (event.target.id === 'operation') fillIn(event.target)
    if (event.target.id === 'persona') takeOn(event.target)
    if (event.target.id === 'claims') byId('persona').value = ''
    for (const kind of ['claims', 'token']) byId(`caller-${kind}`).hidden = form.elements.caller.value !== kind
    clearTimeout(timer)
    timer = setTimeout(explain, rest)
  })
}

/** One line for each claim: lists of names are long otherwise. */
function textOf(claims) {
  const written = (value) =>
    Array.isArray(value) ? `[${value.map((one) => JSON.stringify(one)).join(', ')}]` : JSON.stringify(value)
  const lines = Object.entries(claims).map(([name, value]) => `  ${JSON.stringify(name)}: ${written(value)}`)
  return `{\n${lines.join(',\n')}\n}`
}

let personas = []

/** Whom the gateway knows, by where it knows them from; the first of them is taken on. */
async function listPersonas() {
  personas = (await ask('/personas')).personas
  const groups = Map.groupBy(personas.keys(), (index) => personas[index].from)
  byId('persona').append(
    ...[...groups].map(([from, indices]) => element('optgroup', { label: from }, [...indices].map(optionOf))),
  )
  if (personas.length === 0) return
  byId('persona').value = '0'
  takeOn(byId('persona'))
}

function optionOf(index) {
  const { name, claims } = personas[index]
  const roles = claims.roles.length > 0 ? ` – ${claims.roles.join(', ')}` : ''
  return element('option', { value: String(index) }, `${name}${roles}`)
}

function takeOn({ value }) {
  if (value !== '') byId('claims').value = textOf(personas[Number(value)].claims)
}

function say(error) {
  const answer = byId('simulator-answer')
  answer.className = 'answer refused'
  answer.textContent = error.message
}

/** The operations of the published document, by their tags. */
async function listOperations() {
  const { paths } = await ask('/openapi.json')
  const groups = new Map()
  for (const [path, operations] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      if (!methods.includes(method.toUpperCase())) continue
      const tag = operation.tags?.[0] ?? 'Others'
      if (!groups.has(tag)) groups.set(tag, [])
      groups.get(tag).push({ value: `${method.toUpperCase()} ${path}`, summary: operation.summary })
    }
  }
  byId('operation').append(
    ...[...groups].map(([tag, operations]) =>
      element(
        'optgroup',
        { label: tag },
        operations.map(({ value, summary }) => element('option', { value }, summary ? `${value} – ${summary}` : value)),
      ),
    ),
  )
}

/** Parameters of the path get a value to begin with. */
function fillIn({ value }) {
  const [method, path] = value.split(' ')
  if (path === undefined) return
  byId('method').value = method
  byId('path').value = path.replace(/\{[^}]*\}/g, '1')
}

let latest = 0

async function explain() {
  const inquiry = read()
  if (!inquiry) return
  const mine = ++latest
  const answer = byId('simulator-answer')
  try {
    const explanation = await ask('/explain', inquiry)
    // An answer that was overtaken by a later question says nothing any more.
    if (mine !== latest) return
    showAnswer(answer, explanation)
    showTrace(byId('simulator-trace'), explanation)
  } catch (error) {
    if (mine !== latest) return
    answer.className = 'answer'
    answer.textContent = error.message
    byId('simulator-trace').replaceChildren()
  }
}

/** The form as a question; undefined while something in it is no JSON, which is said. */
function read() {
  const caller = byId('simulator-form').elements.caller.value
  const headers = readFields(byId('fields').value)
  if (caller === 'token') headers.Authorization = `Bearer ${byId('token').value.trim()}`
  const claims = caller === 'claims' ? readJson('claims', 'The claims are') : nothing
  const resource =
    byId('resource').value.trim() === '' ? readNothing('resource') : readJson('resource', 'The resource is')
  if (!claims || !resource) return undefined
  return { method: byId('method').value, path: byId('path').value, headers, ...claims, ...resource }
}

const nothing = {}

function readNothing(id) {
  sayFault(id, '')
  return nothing
}

/** The field by its name; undefined while it is no JSON, which is said below it. */
function readJson(id, subject) {
  try {
    const value = JSON.parse(byId(id).value)
    sayFault(id, '')
    return { [id]: value }
  } catch (error) {
    sayFault(id, `${subject} not JSON: ${error.message}`)
    return undefined
  }
}

function sayFault(id, text) {
  const fault = byId(`${id}-fault`)
  fault.textContent = text
  fault.hidden = text === ''
  if (text === '') byId(id).removeAttribute('aria-invalid')
  else byId(id).setAttribute('aria-invalid', 'true')
}

function readFields(text) {
  const headers = {}
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) headers[line.slice(0, colon).trim()] = line.slice(colon + 1).trim()
  }
  return headers
}
