// Starts Swagger UI with the settings of this gateway (docs/config.json).
//
// An external file, and settings by fetch instead of by template, because the page's Content-Security-Policy forbids
// inline script: nothing that a service writes into its document can become code here.

/* global SwaggerUIBundle, SwaggerUIStandalonePreset */

import { deepLinks } from './deep-links.js'
import { findOperations } from './find-operations.js'
import { largeDocuments } from './large-documents.js'
import { steadyExamples } from './steady-examples.js'
import { steadyList } from './steady-list.js'

document.documentElement.classList.toggle('dark-mode', matchMedia('(prefers-color-scheme: dark)').matches)
document.documentElement.classList.add('themed')

function notice(text) {
  const element = document.getElementById('notice')
  element.textContent = text
  element.hidden = false
}

async function settings() {
  const response = await fetch('docs/config.json')
  if (!response.ok) throw new Error(`docs/config.json answered ${response.status}`)
  return response.json()
}

/** The product's name in the place of Swagger UI's logo. */
function brand(title) {
  return ({ React }) => ({
    components: {
      Logo: () =>
        React.createElement(
          'span',
          { className: 'brand' },
          React.createElement('img', { src: 'docs/sallyport.svg', alt: '', width: 28, height: 28 }),
          title,
        ),
    },
  })
}

/**
 * The authorization code flow, answered through a BroadcastChannel (see oauth2-redirect.js), with a `state` that cannot
 * be guessed: Swagger UI's own is the time of day. An answer whose state nobody here is waiting for is left alone; it
 * may belong to another tab.
 */
function popup() {
  const waiting = new Map()
  const channel = new BroadcastChannel('sallyport-oauth2')
  channel.onmessage = ({ data: { answer } }) => {
    const pending = waiting.get(answer?.state)
    if (!pending) return
    waiting.delete(answer.state)
    channel.postMessage({ received: answer.state })
    const { auth, redirectUrl, callback, errCb } = pending
    if (answer.code) {
      auth.code = answer.code
      callback({ auth, redirectUrl })
    } else if (answer.access_token) {
      callback({ auth, token: answer, isValid: true, redirectUrl })
    } else {
      const said = [answer.error ?? 'no code was sent back', answer.error_description].filter(Boolean).join(': ')
      errCb({ authId: auth.name, source: 'auth', level: 'error', message: said })
    }
  }
  return () => ({
    statePlugins: {
      auth: {
        wrapActions: {
          authPopup: () => (url, pending) => {
            const state = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
              byte.toString(16).padStart(2, '0'),
            ).join('')
            const target = new URL(url, location.href)
            target.searchParams.set('state', state)
            waiting.set(state, pending)
            window.open(target)
          },
        },
      },
    },
  })
}

/**
 * All documents of the drop-down describe one gateway with one set of security schemes, so choosing another one keeps
 * what is authorized. Swagger UI forgets it: it cannot know that they belong together.
 */
function stayAuthorized() {
  return () => ({ statePlugins: { auth: { wrapActions: { restoreAuthorization: () => () => undefined } } } })
}

/** The dialog opens at its first scheme. Swagger UI gives the focus to the last field, and the dialog scrolls after it. */
function dialogFromTheTop() {
  const toTheTop = () => {
    const content = document.querySelector('.dialog-ux .modal-ux-content')
    content?.querySelector('input')?.focus()
    content?.scrollTo(0, 0)
  }
  const wrapActions = {
    showDefinitions: (original) => (definitions) => {
      const result = original(definitions)
      if (definitions) setTimeout(toTheTop)
      return result
    },
  }
  return () => ({ statePlugins: { auth: { wrapActions } } })
}

/** The lines and parameters that Try it out would send with what is authorized; of two for one place the later one. */
function credentials(authorized) {
  const headers = {}
  const query = {}
  for (const { schema, value, token } of Object.values(authorized)) {
    const { type, scheme, in: place, name } = schema
    if (type === 'apiKey' && place === 'header') headers[name] = value
    else if (type === 'apiKey' && place === 'query') query[name] = value
    else if (type === 'http' && /^basic$/i.test(scheme)) headers.Authorization = value.header
    else if (type === 'http') headers.Authorization = `Bearer ${value}`
    else if (token?.access_token) headers.Authorization = `Bearer ${token.access_token}`
  }
  return { headers, query }
}

/**
 * Where each caller is shown what it may call, the document is asked for with what is authorized, and once more whenever
 * that changes. What is open on the page stays open.
 */
function viewOfCaller(system) {
  const authorized = () => system.authSelectors.authorized()?.toJS() ?? {}
  let last = system.authSelectors.authorized()
  let turn = 0

  async function askAgain() {
    turn += 1
    const mine = turn
    const url = system.specSelectors.url()
    const { href, headers } = withCredentials(url)
    const response = await fetch(href, { headers: { ...headers, Accept: 'application/json' } })
    const text = await response.text()
    // Somebody signed in or out, or chose another document, while this one was on its way.
    if (mine !== turn || url !== system.specSelectors.url()) return
    if (response.ok) system.specActions.updateSpec(text)
    else notice(`The document could not be asked for again: it answered ${response.status}.`)
  }

  function withCredentials(url) {
    const { headers, query } = credentials(authorized())
    const target = new URL(url, location.href)
    for (const [name, value] of Object.entries(query)) target.searchParams.set(name, value)
    return { href: target.href, headers }
  }

  system.getStore().subscribe(() => {
    const now = system.authSelectors.authorized()
    if (now === last) return
    last = now
    askAgain().catch((error) => notice(`The document could not be asked for again: ${error.message}.`))
  })
  return withCredentials
}

/** `X-Requested-With` makes a browser ask a foreign authorization server for permission first, which most refuse. */
function plainTokenRequest(request) {
  if (new URL(request.url, location.href).origin !== location.origin && !request.loadSpec) {
    delete request.headers?.['X-Requested-With']
  }
  return request
}

try {
  const { title, documents, oauth, redirectUrl, view } = await settings()
  document.title = title

  const home = new URL(redirectUrl)
  if (home.origin !== location.origin) {
    notice(`You are at ${location.origin}, but signing in returns to ${home.origin}: open this page there.`)
  }

  let withCredentials
  const ui = SwaggerUIBundle({
    dom_id: '#swagger-ui',
    urls: documents,
    layout: 'StandaloneLayout',
    presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
    plugins: [
      SwaggerUIBundle.plugins.DownloadUrl,
      brand(title),
      popup(),
      stayAuthorized(),
      dialogFromTheTop(),
      largeDocuments(),
      findOperations(),
      deepLinks(),
      steadyList(),
      steadyExamples(),
    ],
    requestInterceptor: (request) => {
      if (request.loadSpec && withCredentials) {
        const { href, headers } = withCredentials(request.url)
        request.url = href
        request.headers = { ...request.headers, ...headers }
      }
      return plainTokenRequest(request)
    },
    oauth2RedirectUrl: redirectUrl,
    validatorUrl: null,
    queryConfigEnabled: false,
    persistAuthorization: false,
    withCredentials: false,
    deepLinking: true,
    filter: true,
    docExpansion: 'none',
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    tryItOutEnabled: true,
  })
  if (view === 'caller') withCredentials = viewOfCaller(ui)
  ui.initOAuth({ ...oauth, appName: title, usePkceWithAuthorizationCodeGrant: true })
} catch (error) {
  notice(`The documentation page could not start: ${error.message}.`)
}
