import { byId } from './dom.js'
import { showHealth } from './health.js'
import { startInspector } from './inspector.js'
import { showRefusals, startRefusals } from './refusals.js'
import { startSimulator } from './simulator.js'

/** What a view does when it is opened; it may return how to stop. */
const views = {
  health: showHealth,
  simulator: startOnce(startSimulator),
  refusals(id) {
    showRefusals(id)
  },
  inspector: () => {},
}

let leave

/** The part of the address behind `#` says which view is open: `#refusals/6331410dd7604104-000001`. */
function open() {
  const [name, ...rest] = location.hash.slice(1).split('/')
  const view = name in views ? name : 'health'
  leave?.()
  for (const other of Object.keys(views)) byId(other).hidden = other !== view
  for (const link of document.querySelectorAll('nav a')) {
    if (link.hash === `#${view}`) link.setAttribute('aria-current', 'page')
    else link.removeAttribute('aria-current')
  }
  leave = views[view](decodeURIComponent(rest.join('/')))
}

function startOnce(start) {
  let started = false
  return () => {
    if (!started) start()
    started = true
  }
}

// What is wider than a telephone can be moved with the keyboard.
for (const place of document.querySelectorAll('.scroll[data-name]')) {
  place.tabIndex = 0
  place.setAttribute('role', 'region')
  place.setAttribute('aria-label', place.dataset.name)
}
startInspector()
startRefusals()
addEventListener('hashchange', open)
open()
