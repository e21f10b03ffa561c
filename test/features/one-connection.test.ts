import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { Agent, request } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { run } from '../../src/cli/run.ts'
import { type Backend, startBackend } from '../backend.ts'
import { Jar } from '../jar.ts'
import { type GatewayUnderTest, startGateway } from '../sallyport.ts'

const cookieName = '__Host-sallyport'
const inline = 'a key that stands in services.json, by its digest'
const people = ['ada', 'bob'].map((name) => ({ username: name, password: name, subject: name }))

const definition = (target: string) => ({
  store: { type: 'sqlite', path: 'store.db' },
  issuers: {
    local: {
      ...{ type: 'embedded', users: './users.json', grants: ['password', 'authorization_code', 'refresh_token'] },
      clients: [{ id: 'app', secret: 'a-secret-of-the-app', grants: ['password'] }],
    },
  },
  securitySchemes: {
    bearer: { type: 'http', scheme: 'bearer' },
    key: {
      ...{ type: 'apiKey', in: 'header', name: 'X-API-Key' },
      keys: [{ sha256: hash('sha256', inline, 'hex'), subject: 'robot' }],
    },
    session: { type: 'apiKey', in: 'cookie', name: cookieName, session: { issuer: 'local' } },
  },
  security: [{ bearer: [] }, { key: [] }, { session: [] }],
  services: [{ name: 'echo', path: '/echo', targets: [target], openapi: false }],
})

/** What a connection says is remembered with it (docs/decisions/0024). */
describe('on one connection', () => {
  let backend: Backend
  let gateway: GatewayUnderTest
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const ports = new Set<number | undefined>()

  before(async () => {
    backend = await startBackend()
    gateway = await startGateway(definition(backend.url), { files: { 'users.json': JSON.stringify(people) } })
  })
  after(async () => {
    agent.destroy()
    await gateway?.[Symbol.asyncDispose]()
    await backend?.[Symbol.asyncDispose]()
  })

  /** Status and caller of one request, always on the same connection. */
  function ask(headers: Readonly<Record<string, string>>): Promise<readonly [number | undefined, unknown]> {
    return new Promise((resolve, reject) => {
      backend.received.length = 0
      const sent = request(`${gateway.url}/echo/1`, { agent, headers }, (answer) => {
        ports.add(sent.socket?.localPort)
        answer.resume().on('end', () => resolve([answer.statusCode, backend.received[0]?.headers['user-id']]))
      })
      sent.on('error', reject).end()
    })
  }

  async function token(name: string): Promise<string> {
    const answer = await fetch(`${gateway.url}/oauth2/token`, {
      method: 'POST',
      headers: { Authorization: `Basic ${Buffer.from('app:a-secret-of-the-app').toString('base64')}` },
      body: new URLSearchParams({ grant_type: 'password', username: name, password: name }),
    })
    const { access_token } = (await answer.json()) as { access_token: string }
    return access_token
  }

  async function command(...words: string[]): Promise<string> {
    const lines: string[] = []
    const terminal = { environment: {}, out: (text: string) => void lines.push(text), err: () => {} }
    assert.equal(await run([...words, '--config', `${gateway.folder}/services.json`], terminal), 0)
    return lines.join('\n')
  }

  test('each caller stays itself, however they take turns', async () => {
    const signedIn = async (name: string) => {
      const jar = new Jar(gateway.running.publicUrl, gateway.url)
      await jar.signIn(name, name)
      return jar.cookies.get(cookieName)!
    }
    const stored = await command('keys', 'create', '--owner', 'ci')
    const callers: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
      ['ada', { Authorization: `Bearer ${await token('ada')}` }],
      ['bob', { Authorization: `Bearer ${await token('bob')}` }],
      ['robot', { 'X-API-Key': inline }],
      ['ci', { 'X-API-Key': stored }],
      ['ada', { Cookie: `${cookieName}=${await signedIn('ada')}` }],
      ['bob', { Cookie: `theme=dark; ${cookieName}=${await signedIn('bob')}` }],
    ]
    for (const [first, firstHeaders] of callers) {
      for (const [second, secondHeaders] of callers) {
        for (let turn = 0; turn < 2; turn++) {
          assert.deepEqual(await ask(firstHeaders), [200, first])
          assert.deepEqual(await ask(secondHeaders), [200, second])
        }
        // A credential that begins like one that is known is another one.
        const [[name, value]] = Object.entries(firstHeaders) as [[string, string]]
        assert.deepEqual(await ask({ [name]: `${value.slice(0, -1)}~` }), [401, undefined])
      }
    }
    assert.equal(ports.size, 1, 'it was one connection')
  })

  test('what has ended is refused, though the connection has just said it', async () => {
    const stored = await command('keys', 'create', '--owner', 'dora')
    const jar = new Jar(gateway.running.publicUrl, gateway.url)
    await jar.signIn('ada', 'ada')
    const key = { 'X-API-Key': stored }
    const session = { Cookie: `${cookieName}=${jar.cookies.get(cookieName)}` }
    for (const headers of [key, session, key, session]) assert.equal((await ask(headers))[0], 200)

    await command('keys', 'revoke', stored.slice(3, 11))
    const deadline = Date.now() + 3_000
    while ((await ask(key))[0] === 200) assert(Date.now() < deadline, 'the key is still good')
    assert.equal((await ask(key))[0], 401)

    const { status } = await jar.send('/logout', { method: 'POST', headers: { origin: gateway.running.publicUrl } })
    assert.equal(status, 204)
    assert.equal((await ask(session))[0], 401)
    assert.equal(ports.size, 1, 'it was one connection')
  })
})
