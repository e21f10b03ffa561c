import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { startBackend } from '../backend.ts'
import { sendRaw } from '../raw.ts'
import { startGateway } from '../sallyport.ts'

const definition = {
  securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
  services: [
    {
      name: 'orders',
      path: '/orders',
      targets: ['http://127.0.0.1:9'],
      openapi: false,
      security: [{ bearer: [] }],
      limits: { rate: [{ requests: 3, per: '1m', by: 'address' }] },
    },
  ],
}

const lines = (...text: string[]) => [...text, '', ''].join('\r\n')
const json = { 'Content-Type': 'application/json' }

describe('the admin port', () => {
  test('answers to its address and to localhost, and to no name that was made to lead here', async () => {
    await using gateway = await startGateway(definition)
    const ask = async (host: string, path = '/services') =>
      (await sendRaw(gateway.adminUrl, lines(`GET ${path} HTTP/1.1`, `Host: ${host}`, 'Connection: close'))).status
    for (const host of ['127.0.0.1', '127.0.0.1:8081', 'localhost:1', '[::1]:8081', '192.0.2.1'])
      assert.equal(await ask(host), 200, host)
    for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example:8081'])
      assert.equal(await ask(host), 421, host)
    assert.equal(await ask('gateway.monitoring:8081', '/metrics'), 200, 'scrapers use the names of their network')
  })

  test('refuses what pages of other sites send', async () => {
    await using gateway = await startGateway(definition)
    const { host } = new URL(gateway.adminUrl)
    const ask = async (...fields: string[]) => {
      const body = '{"owner":"mallory"}'
      const head = ['POST /keys HTTP/1.1', `Host: ${host}`, 'Connection: close', `Content-Length: ${body.length}`]
      return sendRaw(gateway.adminUrl, `${[...head, ...fields].join('\r\n')}\r\n\r\n${body}`)
    }
    const type = 'Content-Type: application/json'
    assert.equal((await ask(type, 'Sec-Fetch-Site: cross-site')).status, 403)
    assert.equal((await ask(type, 'Sec-Fetch-Site: same-site')).status, 403)
    assert.equal((await ask(type, 'Origin: https://evil.example')).status, 403)
    assert.equal((await ask(type, 'Origin: null')).status, 403)
    assert.equal((await ask('Content-Type: text/plain')).status, 415, 'a form can send text')
    assert.equal((await ask('Content-Type: application/x-www-form-urlencoded')).status, 415)
    const own = await ask(type, `Origin: http://${host}`, 'Sec-Fetch-Site: same-origin')
    assert.equal(own.status, 201)
    assert.ok(!/access-control/i.test(own.text))
    const { keys } = (await (await fetch(`${gateway.adminUrl}/keys`)).json()) as { keys: unknown[] }
    assert.equal(keys.length, 1)
  })

  test('takes bodies of 64 kB and says what is wrong with them', async () => {
    await using gateway = await startGateway(definition)
    const post = (body: string) => fetch(`${gateway.adminUrl}/explain`, { method: 'POST', headers: json, body })
    assert.equal((await post(JSON.stringify({ path: '/orders', headers: { a: 'x'.repeat(70_000) } }))).status, 413)
    assert.equal((await post('{')).status, 400)
    const wrong = await post('{"path":"/orders","header":{}}')
    assert.equal(wrong.headers.get('content-type'), 'application/problem+json')
    assert.match(((await wrong.json()) as { detail: string }).detail, /header/)
    const missing = await fetch(`${gateway.adminUrl}/explain`)
    assert.equal(missing.status, 405)
    assert.equal(missing.headers.get('allow'), 'POST')
  })

  test('says why a request was refused, by the id in its problem, without the secrets it carried', async () => {
    await using gateway = await startGateway(definition)
    const token = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtYWxsb3J5In0.c2lnbmF0dXJlLXNlY3JldA'
    const answer = await fetch(`${gateway.url}/orders/1?card=4111`, { headers: { Authorization: `Bearer ${token}` } })
    const { instance } = (await answer.json()) as { instance: string }
    const text = await (await fetch(`${gateway.adminUrl}/decisions/${instance}`)).text()
    const { problem, route, authentication, request } = JSON.parse(text)
    assert.deepEqual([problem.step, problem.status, problem.code], ['authenticate', 401, 'invalid-token'])
    assert.equal(route.id, 'orders')
    assert.deepEqual(authentication.schemes[0].reason, 'issuer')
    assert.equal(request.query, 'card=…')
    for (const secret of [token, 'c2lnbmF0dXJl', '4111']) assert.ok(!text.includes(secret))

    const line = gateway.log.find(({ message, id }) => message === 'request' && id === instance)
    assert.deepEqual(line?.['verdicts'], { bearer: 'issuer' })
    assert.equal((await fetch(`${gateway.adminUrl}/decisions/none`)).status, 404)
  })

  test('keeps a 429 as well, and the last thousand', async () => {
    await using gateway = await startGateway(definition)
    let last: Response
    for (let count = 0; count < 4; count += 1) last = await fetch(`${gateway.url}/orders/1`)
    assert.equal(last!.status, 429)
    const { instance } = (await last!.json()) as { instance: string }
    const kept = await (await fetch(`${gateway.adminUrl}/decisions/${instance}`)).json()
    assert.deepEqual((kept as { problem: { step: string } }).problem.step, 'throttle')
    const { decisions } = (await (await fetch(`${gateway.adminUrl}/decisions`)).json()) as {
      decisions: { status: number; id: string }[]
    }
    assert.deepEqual(
      decisions.map(({ status }) => status),
      [429, 401, 401, 401],
    )
    assert.equal(decisions[0]!.id, instance)
  })

  test('revokes what a subject was given, at once', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway({
      issuers: {
        local: {
          type: 'embedded',
          clients: [
            {
              id: 'robot',
              secret: 'a-secret-of-a-robot-that-is-long',
              grants: ['client_credentials'],
              scopes: ['orders'],
            },
          ],
          grants: ['client_credentials'],
        },
      },
      securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
      services: [
        { name: 'orders', path: '/orders', targets: [backend.url], openapi: false, security: [{ bearer: [] }] },
      ],
    })
    const granted = await fetch(`${gateway.url}/token`, {
      method: 'POST',
      headers: { Authorization: `Basic ${btoa('robot:a-secret-of-a-robot-that-is-long')}` },
      body: new URLSearchParams({ grant_type: 'client_credentials', scope: 'orders' }),
    })
    const { access_token: token } = (await granted.json()) as { access_token: string }
    const headers = { Authorization: `Bearer ${token}` }
    assert.equal((await fetch(`${gateway.url}/orders/1`, { headers })).status, 200)

    const inspect = async () => {
      const body = JSON.stringify({ token })
      const answer = await fetch(`${gateway.adminUrl}/inspect`, { method: 'POST', headers: json, body })
      return ((await answer.json()) as { schemes: { outcome: string; steps: { step: string; verdict: string }[] }[] })
        .schemes[0]!
    }
    assert.equal((await inspect()).outcome, 'accepted')

    const revoke = (body: object) =>
      fetch(`${gateway.adminUrl}/revocations`, { method: 'POST', headers: json, body: JSON.stringify(body) })
    assert.equal((await revoke({ nobody: 'robot' })).status, 400)
    assert.equal((await revoke({ subject: 'robot' })).status, 204)
    assert.equal((await fetch(`${gateway.url}/orders/1`, { headers })).status, 401)
    const { outcome, steps } = await inspect()
    assert.equal(outcome, 'refused')
    assert.deepEqual(steps.find(({ verdict }) => verdict === 'failed')?.step, 'revocation')
    const { revocations } = (await (await fetch(`${gateway.adminUrl}/revocations`)).json()) as {
      revocations: { kind: string; id: string }[]
    }
    assert.deepEqual(
      revocations.map(({ kind, id }) => [kind, id]),
      [['subject', 'robot']],
    )
  })
})
