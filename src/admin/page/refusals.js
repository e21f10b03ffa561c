import { ask, byId, element } from './dom.js'
import { showAnswer, showTrace } from './trace.js'

export function startRefusals() {
  byId('refusal-form').addEventListener('submit', (event) => {
    event.preventDefault()
    location.hash = `refusals/${encodeURIComponent(byId('refusal-id').value.trim())}`
  })
}

/** The list of refusals, and the one whose id is given. */
export async function showRefusals(id) {
  const answer = byId('refusal-answer')
  try {
    const { decisions } = await ask('/decisions')
    byId('refusal-rows').replaceChildren(...decisions.map((decision) => rowOf(decision, id)))
    if (!id) return
    byId('refusal-id').value = id
    const explanation = await ask(`/decisions/${encodeURIComponent(id)}`)
    showAnswer(answer, explanation)
    showTrace(byId('refusal-trace'), explanation)
  } catch (error) {
    answer.className = 'answer'
    answer.textContent = error.message
    byId('refusal-trace').replaceChildren()
  }
}

function rowOf({ id, at, method, path, status, code }, chosen) {
  return element(
    'tr',
    { 'aria-current': id === chosen ? 'true' : undefined },
    element('td', {}, element('time', { datetime: at }, new Date(at).toLocaleTimeString())),
    element('td', {}, element('a', { href: `#refusals/${encodeURIComponent(id)}` }, `${method} ${path}`)),
    element('td', {}, `${status} ${code}`),
  )
}
