import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { InvalidConfiguration } from '../../src/config/load.ts'
import { startBackend } from '../backend.ts'
import { startGateway } from '../sallyport.ts'

const field = 'X-MS-CLIENT-PRINCIPAL'
const principal = { type: 'apiKey', in: 'header', name: field, principal: true }
const roleType = 'http://schemas.microsoft.com/ws/2008/06/identity/claims/role'
const nameType = 'http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name'

const definition = (url: string, trustedProxies: string[], scheme: object = principal) => ({
  gateway: { trustedProxies },
  securitySchemes: { easyAuth: scheme },
  security: [{ easyAuth: [] }],
  services: [
    { name: 'echo', path: '/echo', targets: [url], openapi: false },
    { name: 'admins', path: '/admins', targets: [url], openapi: false, security: [{ easyAuth: ['admin'] }] },
  ],
})

const encode = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64')
const ada = {
  auth_typ: 'aad',
  name_typ: nameType,
  role_typ: roleType,
  claims: [
    { typ: 'http://schemas.microsoft.com/identity/claims/objectidentifier', val: 'object-of-ada' },
    { typ: nameType, val: 'Ada' },
    { typ: 'preferred_username', val: 'ada@acme.example' },
    { typ: 'http://schemas.microsoft.com/identity/claims/tenantid', val: 'tenant' },
    { typ: roleType, val: 'reader' },
    { typ: roleType, val: 'admin' },
    // Not of the type that holds roles here.
    { typ: 'roles', val: 'superuser' },
  ],
}

describe("Azure Easy Auth's principal", () => {
  test('is who calls when a trusted proxy says so, with the roles of the type it names', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(definition(backend.url, ['127.0.0.1/32']))
    const headers = { [field]: encode(ada) }
    assert.equal((await fetch(`${gateway.url}/admins`, { headers })).status, 200)
    const received = backend.received[0]!.headers
    assert.equal(received['user-id'], 'object-of-ada')
    assert.equal(received['user-email'], 'ada@acme.example')
    assert.equal(received['organization-id'], 'tenant')
    assert.equal(received['user-roles'], 'reader,admin')
    assert.equal(received['auth-method'], 'easy-auth')
    const me = (await (await fetch(`${gateway.url}/me`, { headers })).json()) as { name: string }
    assert.equal(me.name, 'Ada')
  })

  test('is refused from everybody else', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(definition(backend.url, ['10.9.9.9']))
    const answer = await fetch(`${gateway.url}/echo`, { headers: { [field]: encode(ada) } })
    assert.equal(answer.status, 401)
    assert.equal(backend.received.length, 0)
  })

  test('is refused when it does not say who, or is not what Easy Auth writes', async () => {
    await using backend = await startBackend()
    await using gateway = await startGateway(definition(backend.url, ['127.0.0.1']))
    const values = [
      '',
      'nonsense!',
      encode('not json'),
      encode('null'),
      encode('[]'),
      encode({}),
      encode({ claims: {} }),
      encode({ claims: [] }),
      encode({ claims: [null] }),
      encode({ claims: [{ typ: 'sub', val: 7 }] }),
      encode({ claims: [{ typ: 'sub', val: '' }] }),
      encode({ ...ada, claims: ada.claims.slice(1, 3).map(({ val }) => ({ typ: 'other', val })) }),
    ]
    for (const value of values) {
      const answer = await fetch(`${gateway.url}/echo`, { headers: { [field]: value } })
      assert.equal(answer.status, 401, value)
    }
    assert.equal(backend.received.length, 0)
  })

  test('needs somebody to be believed, in a header field', async () => {
    const refuses = (proxies: string[], scheme: object, pointer: string, message: RegExp) =>
      assert.rejects(startGateway(definition('http://127.0.0.1:1', proxies, scheme)), (error: unknown) => {
        assert(error instanceof InvalidConfiguration, String(error))
        const found = error.mistakes.find((mistake) => mistake.pointer === pointer)
        assert(found, JSON.stringify(error.mistakes))
        assert.match(found.message, message)
        return true
      })
    await refuses([], principal, '/securitySchemes/easyAuth/principal', /trustedProxies/)
    await refuses(['10.0.0.1'], { ...principal, in: 'query' }, '/securitySchemes/easyAuth/in', /header field/)
    await refuses(['10.0.0.1'], { ...principal, keys: [] }, '/securitySchemes/easyAuth/principal', /neither/)
  })
})
