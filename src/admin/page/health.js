import { ask, byId, element } from './dom.js'

const every = 5_000

/** The table of services, until the view is left. */
export function showHealth() {
  let timer
  let left = false
  const look = async () => {
    const notice = byId('health-notice')
    try {
      const { services } = await ask('/services')
      byId('health-rows').replaceChildren(...services.map(rowOf))
      sumUp(services)
      notice.hidden = true
    } catch (error) {
      notice.textContent = `The gateway does not answer: ${error.message}`
      notice.hidden = false
      byId('health-answer').hidden = true
    }
    if (!left) timer = setTimeout(look, every)
  }
  look()
  return () => {
    left = true
    clearTimeout(timer)
  }
}

/** All of it in one line, above the table. */
function sumUp(services) {
  const out = services.filter(({ available }) => !available).map(({ name }) => name)
  const old = services.filter(({ document: state }) => !/^(?:none|fresh)$/.test(state.status)).map(({ name }) => name)
  const texts = [
    out.length > 0 ? `Not available: ${out.join(', ')}.` : 'Every service is available.',
    old.length > 0 ? `Documents that could not be read: ${old.join(', ')}.` : '',
  ]
  const place = byId('health-answer')
  place.className = `answer ${out.length + old.length > 0 ? 'refused' : 'forwarded'}`
  const text = texts.join(' ').trim()
  if (place.textContent !== text) place.textContent = text
  place.hidden = false
}

function rowOf({ name, available, targets, document: state }) {
  return element(
    'tr',
    {},
    element('th', { scope: 'row' }, name, ' ', mark(available, available ? 'available' : 'not available')),
    element('td', {}, element('ul', { class: 'plain' }, targets.map(targetOf))),
    element('td', {}, ...documentOf(state)),
  )
}

function targetOf({ url, healthy, breaker, available, inFlight }) {
  const states = [
    available ? undefined : 'out',
    healthy ? undefined : 'unhealthy',
    breaker === 'closed' ? undefined : `breaker ${breaker}`,
    inFlight > 0 ? `${inFlight} in flight` : undefined,
  ].filter((text) => text !== undefined)
  const told = states.length > 0 ? states.join(', ') : 'ready'
  return element('li', {}, element('code', {}, url), ' ', mark(available, told))
}

function documentOf(state) {
  switch (state.status) {
    case 'none':
      return ['has none']
    case 'fresh':
      return [mark(true, 'fresh')]
    case 'stale':
      return [mark(false, `last good one, since ${new Date(state.since * 1_000).toLocaleString()}`), ` ${state.reason}`]
    default:
      return [mark(false, 'missing'), ` ${state.reason}`]
  }
}

function mark(good, text) {
  return element('span', { class: good ? 'mark good' : 'mark bad' }, text)
}
