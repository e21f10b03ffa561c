import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { type DocsFiles, readDocsFiles } from '../../src/docs/docs-page.ts'
import { skipWithout } from '../requirements.ts'
import { authorize, execute, launchBrowser, noTrouble, openDialog, openDocs } from './browser.ts'
import { serve, serveDocs } from './docs-server.ts'

/**
 * An authorization server no larger than the flow needs: a page with a button, a code, a token (RFC 6749 §4.1, RFC 7636).
 * `opener` is the Cross-Origin-Opener-Policy of its page. It answers no preflight, as many do not.
 */
function authorizationServer(opener?: string) {
  const challenges = new Map<string, string>()
  const seen = { states: [] as string[], preflights: 0 }
  let codes = 0
  const handler: Parameters<typeof serve>[0] = async (request, response) => {
    const url = new URL(request.url!, 'http://issuer')
    const cors = { 'Access-Control-Allow-Origin': '*' }
    if (request.method === 'OPTIONS') {
      seen.preflights += 1
      response.writeHead(405).end()
    } else if (url.pathname === '/authorize') {
      const query = url.searchParams
      const back = new URL(query.get('redirect_uri')!)
      const code = `code-${++codes}`
      seen.states.push(query.get('state')!)
      challenges.set(code, query.get('code_challenge')!)
      back.search = new URLSearchParams({ code, state: query.get('state')! }).toString()
      const refused = new URL(back)
      refused.search = new URLSearchParams({
        error: 'access_denied',
        error_description: 'no',
        state: query.get('state')!,
      }).toString()
      response.writeHead(200, {
        'Content-Type': 'text/html',
        ...(opener ? { 'Cross-Origin-Opener-Policy': opener } : {}),
      })
      response.end(`<!doctype html><link rel="icon" href="data:,"><a id="yes" href="${back.href.replaceAll('&', '&amp;')}">Sign in</a>
        <a id="no" href="${refused.href.replaceAll('&', '&amp;')}">Cancel</a>`)
    } else if (url.pathname === '/token') {
      const form = new URLSearchParams(Buffer.concat(await request.toArray()).toString())
      const proof = createHash('sha256').update(form.get('code_verifier')!).digest('base64url')
      const good = challenges.get(form.get('code')!) === proof
      challenges.delete(form.get('code')!)
      response.writeHead(good ? 200 : 400, { 'Content-Type': 'application/json', ...cors })
      response.end(
        JSON.stringify(good ? { access_token: 'token-1', token_type: 'Bearer' } : { error: 'invalid_grant' }),
      )
    } else {
      response.writeHead(404).end()
    }
  }
  return { handler, seen }
}

function document(issuer: string) {
  return {
    openapi: '3.1.0',
    info: { title: 'Orders', version: '1.0.0' },
    paths: {
      '/orders': {
        get: {
          operationId: 'list',
          tags: ['orders'],
          security: [{ oauth2: [] }],
          responses: { 200: { description: 'The orders' } },
        },
      },
    },
    components: {
      securitySchemes: {
        oauth2: {
          type: 'oauth2',
          flows: {
            authorizationCode: { authorizationUrl: `${issuer}/authorize`, tokenUrl: `${issuer}/token`, scopes: {} },
          },
        },
      },
    },
  }
}

const press = (id: 'yes' | 'no') => (popup: Page) => popup.locator(`#${id}`).click({ noWaitAfter: true })

describe('signing in from the documentation page', { skip: skipWithout('chromium') }, () => {
  let browser: Browser
  let files: DocsFiles
  before(async () => {
    browser = await launchBrowser()
    files = await readDocsFiles()
  })
  after(() => browser?.close())

  /** The page, an API and an authorization server, on one origin or on two. */
  async function set(settings: { elsewhere: boolean; docs?: string; issuer?: string }) {
    const received: (string | undefined)[] = []
    const issuer = authorizationServer(settings.issuer)
    const elsewhere = settings.elsewhere ? await serve(issuer.handler, 'localhost') : undefined
    const documents: Record<string, object> = {}
    const server = await serveDocs(files, {
      documents,
      options: {
        documents: [{ name: 'orders', url: '/openapi.json' }],
        connectSrc: elsewhere ? [elsewhere.origin] : [],
      },
      ...('docs' in settings ? { fields: () => ({ 'Cross-Origin-Opener-Policy': settings.docs! }) } : {}),
      api: (request, response) => {
        if (!elsewhere && /^\/(authorize|token)/.test(request.url!)) return issuer.handler(request, response)
        received.push(request.headers.authorization)
        response.writeHead(200, { 'Content-Type': 'application/json' }).end('[]')
      },
    })
    documents['/openapi.json'] = document(elsewhere?.origin ?? '')
    return {
      received,
      seen: issuer.seen,
      origin: server.origin,
      origins: elsewhere ? [elsewhere.origin] : [],
      async [Symbol.asyncDispose]() {
        await server[Symbol.asyncDispose]()
        await elsewhere?.[Symbol.asyncDispose]()
      },
    }
  }

  const combinations = [
    { title: 'as we serve it, issuer here', settings: { elsewhere: false } },
    { title: 'as we serve it, issuer elsewhere', settings: { elsewhere: true } },
    { title: 'issuer here, no policy', settings: { elsewhere: false, docs: 'unsafe-none' } },
    {
      title: 'issuer here, policy on its page only',
      settings: { elsewhere: false, docs: 'unsafe-none', issuer: 'same-origin' },
    },
    {
      title: 'issuer here, same-origin everywhere',
      settings: { elsewhere: false, docs: 'same-origin', issuer: 'same-origin' },
    },
    { title: 'issuer elsewhere, no policy', settings: { elsewhere: true, docs: 'unsafe-none' } },
    { title: 'issuer elsewhere, same-origin here', settings: { elsewhere: true, docs: 'same-origin' } },
    {
      title: 'issuer elsewhere, same-origin-allow-popups here',
      settings: { elsewhere: true, docs: 'same-origin-allow-popups' },
    },
    {
      title: 'issuer elsewhere with same-origin',
      settings: { elsewhere: true, docs: 'unsafe-none', issuer: 'same-origin' },
    },
  ]
  for (const { title, settings } of combinations) {
    test(`comes back with a token whatever the Cross-Origin-Opener-Policy: ${title}`, async () => {
      await using scene = await set(settings)
      await using docs = await openDocs(browser, `${scene.origin}/docs`, { origins: scene.origins })
      await authorize(docs.page, 'oauth2', { flow: 'authorizationCode', signIn: press('yes') })
      await execute(docs.page, 'list')
      assert.deepEqual(scene.received, ['Bearer token-1'])
      assert.equal(scene.seen.preflights, 0)
      assert.deepEqual(docs.trouble, noTrouble)
    })
  }

  test('asks with a state that nobody can guess', async () => {
    await using scene = await set({ elsewhere: false })
    await using docs = await openDocs(browser, `${scene.origin}/docs`)
    for (const answer of ['no', 'yes'] as const) {
      const form = await openDialog(docs.page, 'oauth2', 'authorizationCode')
      const [popup] = await Promise.all([
        docs.page.waitForEvent('popup'),
        form.getByRole('button', { name: 'Apply given OAuth2 credentials' }).click(),
      ])
      await press(answer)(popup)
      await docs.page.locator('.dialog-ux .close-modal').click()
    }
    assert.equal(scene.seen.states.length, 2)
    assert.equal(new Set(scene.seen.states).size, 2)
    for (const state of scene.seen.states) assert.match(state, /^[0-9a-f]{32}$/)
  })

  test('shows what the issuer said when it refuses', async () => {
    await using scene = await set({ elsewhere: true })
    await using docs = await openDocs(browser, `${scene.origin}/docs`, { origins: scene.origins })
    await assert.rejects(
      authorize(docs.page, 'oauth2', { flow: 'authorizationCode', signIn: press('no') }),
      /refuses oauth2.*access_denied: no/,
    )
  })

  test('leaves an answer alone that it did not ask for, and the window says so', async () => {
    await using scene = await set({ elsewhere: false })
    await using docs = await openDocs(browser, `${scene.origin}/docs`)
    const stray = await docs.page.context().newPage()
    await stray.goto(
      `${scene.origin}/docs/oauth2-redirect.html?code=code-of-somebody-else&state=${btoa(String(new Date()))}`,
    )
    await stray.getByText('No documentation page is waiting for this answer').waitFor()
    assert.equal(new URL(stray.url()).search, '', 'the code must not stay in the address bar')
    const form = await openDialog(docs.page, 'oauth2', 'authorizationCode')
    assert.equal(await form.getByRole('button', { name: 'Remove authorization' }).count(), 0)
    assert.deepEqual(docs.trouble, noTrouble)
  })

  test('answers the tab that asked, not the one beside it', async () => {
    await using scene = await set({ elsewhere: false })
    await using docs = await openDocs(browser, `${scene.origin}/docs`)
    const other = await docs.page.context().newPage()
    await other.goto(`${scene.origin}/docs`)
    await other.locator('.opblock-tag').waitFor()
    await docs.page.bringToFront()
    await authorize(docs.page, 'oauth2', { flow: 'authorizationCode', signIn: press('yes') })
    const form = await openDialog(other, 'oauth2', 'authorizationCode')
    assert.equal(await form.getByRole('button', { name: 'Remove authorization' }).count(), 0)
    assert.deepEqual(docs.trouble, noTrouble)
  })
})
