import { ask, byId, element } from './dom.js'
import { stepsOf } from './trace.js'

/** Decodes what is pasted; verifies when asked to. */
export function startInspector() {
  const input = byId('inspected')
  input.addEventListener('input', () => {
    byId('verified').replaceChildren()
    decode(tokenOf(input))
  })
  byId('inspector-form').addEventListener('submit', async (event) => {
    event.preventDefault()
    const token = tokenOf(input)
    if (token === '') return
    try {
      const { schemes } = await ask('/inspect', { token })
      byId('verified').replaceChildren(...schemes.map(verdictOf))
    } catch (error) {
      byId('verified').replaceChildren(element('p', { class: 'fault' }, error.message))
    }
  })
}

const tokenOf = (input) => input.value.trim().replace(/^Bearer\s+/i, '')

function decode(token) {
  const fault = byId('inspected-fault')
  const place = byId('decoded')
  fault.hidden = true
  place.replaceChildren()
  if (token === '') return
  const parts = token.split('.')
  try {
    if (parts.length !== 3)
      throw new Error(`it has ${parts.length} parts and not three, so only its issuer can read it`)
    const [header, claims] = parts.slice(0, 2).map(read)
    place.replaceChildren(
      element('h3', {}, 'Header'),
      element('pre', { tabindex: '0' }, JSON.stringify(header, null, 2)),
      element('h3', {}, 'Claims'),
      element('pre', { tabindex: '0' }, JSON.stringify(claims, null, 2)),
      element('ul', { class: 'plain' }, timesOf(claims)),
    )
  } catch (error) {
    fault.textContent = `This is no JSON Web Token: ${error.message}.`
    fault.hidden = false
  }
}

function read(part) {
  const bytes = Uint8Array.from(atob(part.replaceAll('-', '+').replaceAll('_', '/')), (character) =>
    character.charCodeAt(0),
  )
  return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
}

const names = { iat: 'Issued', nbf: 'Not before', exp: 'Expires' }

function timesOf(claims) {
  return Object.entries(names).flatMap(([claim, name]) => {
    const seconds = claims[claim]
    if (typeof seconds !== 'number') return []
    const date = new Date(seconds * 1_000)
    const expired = claim === 'exp' && date < new Date()
    return element('li', { class: expired ? 'deny' : 'note' }, `${name} ${date.toLocaleString()}, ${fromNow(date)}`)
  })
}

const units = [
  ['day', 86_400],
  ['hour', 3_600],
  ['minute', 60],
  ['second', 1],
]

function fromNow(date) {
  const seconds = Math.round((date - Date.now()) / 1_000)
  const [unit, size] = units.find(([, length]) => Math.abs(seconds) >= length) ?? ['second', 1]
  return new Intl.RelativeTimeFormat('en').format(Math.round(seconds / size), unit)
}

function verdictOf({ scheme, outcome, reason, caller, steps }) {
  const texts = { accepted: 'accepts it', refused: `refuses it: ${reason}`, unavailable: 'cannot tell right now' }
  return element(
    'section',
    {},
    element(
      'p',
      { class: `answer ${outcome === 'accepted' ? 'forwarded' : 'refused'}` },
      element('strong', {}, scheme),
      ` ${texts[outcome]}`,
    ),
    stepsOf(steps),
    caller && element('p', {}, `The caller is ${caller.subject}; roles: ${caller.roles.join(', ') || 'none'}.`),
  )
}
