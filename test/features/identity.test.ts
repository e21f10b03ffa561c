import assert from 'node:assert/strict'
import { createHash, createHmac, createPublicKey, verify } from 'node:crypto'
import { describe, test } from 'node:test'
import { startBackend } from '../backend.ts'
import { sendRaw } from '../raw.ts'
import { startGateway } from '../sallyport.ts'

const secret = 'a secret of thirty-two bytes and more, for tests'
const issuer = 'https://issuer.example'
const keys = { ada: 'key-of-ada', robot: 'key-of-robot' }
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

const base = {
  issuers: { old: { type: 'secret', issuer, audience: 'api', algorithms: ['HS256'], secret } },
  securitySchemes: {
    bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
    apiKey: {
      type: 'apiKey',
      in: 'header',
      name: 'X-API-Key',
      keys: [
        {
          sha256: sha256(keys.ada),
          subject: 'ada',
          organization: 'acme',
          roles: ['admin', 'editor'],
          permissions: ['orders:read'],
        },
        { sha256: sha256(keys.robot), subject: 'robot', roles: ['viewer'] },
      ],
    },
  },
}

function token(claims: object = {}): string {
  const now = Math.floor(Date.now() / 1_000)
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
  const payload = { iss: issuer, aud: 'api', sub: 'grace', iat: now, exp: now + 60, jti: 'one', ...claims }
  const content = `${encode({ alg: 'HS256', typ: 'at+jwt' })}.${encode(payload)}`
  return `${content}.${createHmac('sha256', secret).update(content).digest('base64url')}`
}

const service = (url: string, more: object = {}) => ({
  ...base,
  services: [
    {
      name: 'echo',
      path: '/echo',
      targets: [url],
      openapi: false,
      security: [{ bearer: [] }, { apiKey: [] }],
      ...more,
    },
  ],
})

describe('who calls, as the service is told', () => {
  test('a token: subject, email, roles, organization, permissions, method, expiry', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(service(backend.url))
    const claims = {
      email: 'grace@acme.example',
      roles: ['editor', 'viewer'],
      permissions: ['a', 'b'],
      organization: 'acme',
    }
    const bearer = token(claims)
    assert.equal((await fetch(`${gateway.url}/echo`, { headers: { Authorization: `Bearer ${bearer}` } })).status, 200)
    const { headers } = backend.received[0]!
    assert.equal(headers['user-id'], 'grace')
    assert.equal(headers['user-email'], 'grace@acme.example')
    assert.equal(headers['user-role'], 'editor')
    assert.equal(headers['user-roles'], 'editor,viewer')
    assert.equal(headers['organization-id'], 'acme')
    assert.equal(headers['permissions'], 'a,b')
    assert.equal(headers['auth-status'], 'authenticated')
    assert.equal(headers['auth-method'], 'jwt')
    assert.equal(headers['token-type'], 'Bearer')
    assert.match(String(headers['token-expires']), /^\d{10}$/)
    assert.equal(headers['authorization'], `Bearer ${bearer}`)
  })

  test('a guest: anonymous, with the role guest', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(service(backend.url, { security: [{ bearer: [] }, {}] }))
    await fetch(`${gateway.url}/echo`)
    const { headers } = backend.received[0]!
    assert.deepEqual(
      [headers['user-id'], headers['user-role'], headers['auth-status'], headers['auth-method']],
      ['anonymous', 'guest', 'no-token', undefined],
    )
  })

  test('an expired token where guests are welcome and the service asked for it', async () => {
    await using backend = await startBackend()
    const optional = { security: [{ bearer: [] }, {}], invalidCredentials: 'anonymous' }
    await using gateway = await startGateway(service(backend.url, optional))
    const expired = token({ iat: 1_700_000_000, exp: 1_700_000_060 })
    await fetch(`${gateway.url}/echo`, { headers: { Authorization: `Bearer ${expired}` } })
    await fetch(`${gateway.url}/echo`, { headers: { Authorization: 'Bearer nonsense' } })
    assert.deepEqual(
      backend.received.map(({ headers }) => headers['auth-status']),
      ['token-expired', 'invalid-token'],
    )
    assert.deepEqual(
      backend.received.map(({ headers }) => headers['authorization']),
      [undefined, undefined],
    )
  })

  test('nothing that a client says of itself, in whatever spelling', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(service(backend.url, { security: [] }))
    const spoofs = [
      'User-ID',
      'user-id',
      'USER-ROLE',
      'User.Roles',
      'X-User-Id',
      'Auth-Status',
      'Permissions',
      'Organization--ID',
      'Remote-User',
    ]
    const lines = spoofs.map((name) => `${name}: root`).join('\r\n')
    const { status } = await sendRaw(gateway.url, `GET /echo HTTP/1.1\r\nHost: x\r\n${lines}\r\n\r\n`)
    assert.equal(status, 200)
    assert(!backend.received[0]!.raw.includes('root'), backend.received[0]!.raw.join(' '))
  })

  test('other names, and none at all, when services.json says so', async () => {
    await using backend = await startBackend()
    const forward = { identity: { 'User-ID': 'X-Subject', Permissions: false } }
    await using renamed = await startGateway(service(backend.url, { forward }))
    await using silent = await startGateway(service(backend.url, { forward: { identity: false } }))
    const headers = { 'X-API-Key': keys.ada, 'X-Subject': 'root' }
    await fetch(`${renamed.url}/echo`, { headers })
    await fetch(`${silent.url}/echo`, { headers })
    const [one, other] = backend.received
    assert.equal(one!.headers['x-subject'], 'ada')
    assert.equal(one!.headers['user-id'], undefined)
    assert.equal(one!.headers['permissions'], undefined)
    assert.equal(one!.headers['user-role'], 'admin')
    assert.equal(other!.headers['user-id'], undefined)
    assert.equal(other!.headers['auth-status'], undefined)
  })
})

describe('the credential, as the service gets it', () => {
  test('passthrough: every credential that was accepted, and no other', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(service(backend.url))
    const bearer = `Bearer ${token()}`
    await fetch(`${gateway.url}/echo`, { headers: { Authorization: bearer, 'X-API-Key': keys.ada } })
    const both = backend.received[0]!.headers
    assert.deepEqual([both['authorization'], both['x-api-key'], both['user-id']], [bearer, keys.ada, 'grace'])
    await using only = await startGateway(service(backend.url, { security: [{ apiKey: [] }] }))
    await fetch(`${only.url}/echo`, { headers: { Authorization: bearer, 'X-API-Key': keys.ada } })
    const one = backend.received[1]!.headers
    assert.deepEqual([one['authorization'], one['x-api-key']], [undefined, keys.ada])
  })

  test('none: nothing; static: one of its own', async () => {
    await using backend = await startBackend()
    await using none = await startGateway(service(backend.url, { forward: { credentials: 'none' } }))
    const fixed = { credentials: { type: 'static', header: 'X-Partner', value: 'partner-secret' } }
    await using partner = await startGateway(service(backend.url, { forward: fixed }))
    const headers = { 'X-API-Key': keys.ada }
    await fetch(`${none.url}/echo`, { headers })
    await fetch(`${partner.url}/echo`, { headers })
    assert.equal(backend.received[0]!.headers['x-api-key'], undefined)
    assert.equal(backend.received[1]!.headers['x-api-key'], undefined)
    assert.equal(backend.received[1]!.headers['x-partner'], 'partner-secret')
  })

  test('gateway-jwt: a token for this service alone, that verifies against the published keys', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(service(backend.url, { forward: { credentials: 'gateway-jwt' } }))
    await fetch(`${gateway.url}/echo`, { headers: { 'X-API-Key': keys.ada } })
    const minted = String(backend.received[0]!.headers['authorization']).replace('Bearer ', '')
    const [head, body, signature] = minted.split('.') as [string, string, string]
    const header = JSON.parse(Buffer.from(head, 'base64url').toString())
    const claims = JSON.parse(Buffer.from(body, 'base64url').toString())
    const published = (await (await fetch(`${gateway.url}/.well-known/gateway/jwks.json`)).json()) as {
      keys: { kid: string }[]
    }
    const jwk = published.keys.find(({ kid }) => kid === header.kid)!
    assert(!('d' in jwk))
    const key = createPublicKey({ key: jwk as never, format: 'jwk' })
    const content = Buffer.from(`${head}.${body}`)
    assert(verify('sha256', content, { key, dsaEncoding: 'ieee-p1363' }, Buffer.from(signature, 'base64url')))
    assert.equal(header.alg, 'ES256')
    assert.deepEqual([claims.sub, claims.aud, claims.roles], ['ada', 'echo', ['admin', 'editor']])
    assert(claims.exp - claims.iat <= 60)
    assert.notEqual(claims.iss, `${gateway.running.publicUrl}/oauth2`)
    const back = await fetch(`${gateway.url}/echo`, { headers: { Authorization: `Bearer ${minted}` } })
    assert.equal(back.status, 401, 'it is never accepted back as the token of a user')
  })
})

describe('who may', () => {
  const roles = { security: [{ bearer: ['admin'] }, { apiKey: ['admin'] }] }

  test('401 with a challenge without a credential, 403 with the reason without the role, 200 with it', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(service(backend.url, roles))
    const nobody = await fetch(`${gateway.url}/echo`)
    assert.equal(nobody.status, 401)
    assert.match(nobody.headers.get('www-authenticate')!, /Bearer realm=.*ApiKey realm=/)
    const robot = await fetch(`${gateway.url}/echo`, { headers: { 'X-API-Key': keys.robot } })
    const problem = (await robot.json()) as { code: string; detail: string; instance: string }
    assert.equal(robot.status, 403)
    assert.equal(problem.code, 'insufficient-role')
    assert.match(problem.detail, /admin/)
    assert.equal(problem.instance, robot.headers.get('x-request-id'))
    assert.equal((await fetch(`${gateway.url}/echo`, { headers: { 'X-API-Key': keys.ada } })).status, 200)
    assert.equal(backend.received.length, 1)
  })

  test('what the requirement array names and `allow` must both hold; a route tightens', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(
      service(backend.url, {
        allow: { permissions: ['orders:read'] },
        routes: [
          {
            match: 'GET /users/{id}',
            allow: { when: "caller.subject == request.params.id || 'admin' in caller.roles" },
          },
          { match: 'GET /loose', allow: { roles: ['viewer'] }, override: true },
          { match: 'GET /health', security: [] },
        ],
      }),
    )
    const status = async (path: string, key?: string) =>
      (await fetch(gateway.url + path, { headers: key ? { 'X-API-Key': key } : {} })).status
    assert.equal(await status('/echo', keys.ada), 200)
    assert.equal(await status('/echo', keys.robot), 403)
    assert.equal(await status('/echo/users/ada', keys.ada), 200)
    assert.equal(await status('/echo/users/robot', keys.robot), 403, 'the condition holds, the permission is missing')
    assert.equal(await status('/echo/loose', keys.robot), 200)
    assert.equal(await status('/echo/health'), 200)
  })

  test('a scope that is missing is named in the challenge', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(service(backend.url, { allow: { scopes: ['orders.write'] } }))
    const answer = await fetch(`${gateway.url}/echo`, {
      headers: { Authorization: `Bearer ${token({ scope: 'orders.read' })}` },
    })
    assert.equal(answer.status, 403)
    assert.match(answer.headers.get('www-authenticate')!, /error="insufficient_scope", scope="orders.write"/)
  })

  test('a name is asked of the scheme it stands at, not of who else calls in the same request', async () => {
    await using backend = await startBackend()
    const together = [{ bearer: [], apiKey: ['admin'] }]
    await using gateway = await startGateway(service(backend.url, { security: together }))
    const headers = (key: string) => ({
      Authorization: `Bearer ${token({ roles: ['admin'] })}`,
      'X-API-Key': key,
    })
    const refused = await fetch(`${gateway.url}/echo`, { headers: headers(keys.robot) })
    assert.deepEqual([refused.status, ((await refused.json()) as { row: string }).row], [403, '/apiKey'])
    assert.equal((await fetch(`${gateway.url}/echo`, { headers: headers(keys.ada) })).status, 200)
  })

  test('two credentials of one kind are 400', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(service(backend.url))
    const twice = (line: string) => sendRaw(gateway.url, `GET /echo HTTP/1.1\r\nHost: x\r\n${line}\r\n${line}\r\n\r\n`)
    assert.equal((await twice(`X-API-Key: ${keys.ada}`)).status, 400)
    assert.equal((await twice(`Authorization: Bearer ${token()}`)).status, 400)
  })

  test('a service that says no security is refused at start', async () => {
    await assert.rejects(
      startGateway({ services: [{ name: 'a', path: '/a', targets: ['http://127.0.0.1:1'] }] }),
      /no security is given/,
    )
  })
})
