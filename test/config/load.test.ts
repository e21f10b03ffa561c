import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { InvalidConfiguration, loadDefinition, readDefinition } from '../../src/config/load.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'

const orders = { name: 'orders', path: '/orders', targets: ['http://127.0.0.1:4001'], security: [{ bearer: [] }] }
const smallest = { services: [orders] }

function mistakesOf(definition: unknown, environment: Record<string, string> = {}) {
  const text = typeof definition === 'string' ? definition : JSON.stringify(definition, null, 2)
  try {
    readDefinition(text, environment)
  } catch (error) {
    assert(error instanceof InvalidConfiguration, String(error))
    return error.mistakes
  }
  return []
}

function refuses(title: string, definition: unknown, pointer: string, message: RegExp) {
  test(title, () => {
    const mistakes = mistakesOf(definition)
    const found = mistakes.find((mistake) => mistake.pointer === pointer)
    assert(found, `expected a mistake at ${pointer}, got ${JSON.stringify(mistakes)}`)
    assert.match(found.message, message)
    assert(found.line > 0)
  })
}

describe('a services.json that is sound', () => {
  test('the smallest file works: an embedded issuer and a bearer scheme stand in', () => {
    const definition = readDefinition(JSON.stringify(smallest), {})
    assert.deepEqual(Object.keys(definition.issuers), ['local'])
    assert.equal(definition.issuers['local']?.type, 'embedded')
    assert.deepEqual(Object.keys(definition.securitySchemes), ['bearer'])
    assert.equal(definition.services[0]?.stripPath, true)
    assert.deepEqual(definition.services[0]?.targets, [{ url: 'http://127.0.0.1:4001', weight: 1 }])
  })

  test('the environment is put into any string, with defaults', () => {
    const services = [{ ...orders, targets: ['http://${ORDERS_HOST:-127.0.0.1}:${ORDERS_PORT}'] }]
    const definition = readDefinition(JSON.stringify({ services }), { ORDERS_PORT: '4101' })
    assert.equal(definition.services[0]?.targets[0]?.url, 'http://127.0.0.1:4101')
  })

  test('HOST, PORT and their likes for the admin port override what is written', () => {
    const text = JSON.stringify({ ...smallest, gateway: { listen: { port: 1 }, admin: { port: '${A:-2}' } } })
    const { gateway } = readDefinition(text, { HOST: '0.0.0.0', PORT: '9090', ADMIN_PORT: '9091' })
    assert.deepEqual(gateway.listen, { host: '0.0.0.0', port: 9090 })
    assert.deepEqual(gateway.admin, { host: '127.0.0.1', port: 9091 })
  })

  test('what is wrong in one of them is told by its name', () => {
    const text = JSON.stringify({ ...smallest, gateway: { admin: { port: 'abc' } } })
    assert.throws(
      () => readDefinition(text, { PORT: 'abc' }),
      ({ mistakes }: InvalidConfiguration) => {
        const said = Object.fromEntries(mistakes.map(({ pointer, message }) => [pointer, message]))
        assert.match(said['/gateway/listen/port']!, /^the environment variable PORT: .*port/)
        assert.doesNotMatch(said['/gateway/admin/port']!, /environment/)
        return true
      },
    )
  })

  test('durations and sizes become milliseconds and bytes', () => {
    const services = [{ ...orders, timeouts: { connect: '250ms', response: '1m' }, limits: { body: '64kb' } }]
    const [service] = readDefinition(JSON.stringify({ services }), {}).services
    assert.equal(service?.timeouts?.connect, 250)
    assert.equal(service?.timeouts?.response, 60_000)
    assert.equal(service?.limits?.body, 65_536)
  })
})

describe('a services.json that is refused, with the place and what would be right', () => {
  test('a file that is missing', async () => {
    await assert.rejects(loadDefinition('/nowhere/services.json', {}), /there is no such file; `sallyport init`/)
  })
  for (const path of ['/orders/*', '/*', '/a;b']) {
    refuses(
      `a path with a pattern or a parameter in it: ${path}`,
      { services: [{ ...orders, path }] },
      '/services/0/path',
      /belongs to the service without a "\*"/,
    )
  }

  for (const name of ['Content-Length', 'transfer-encoding', 'Connection', 'Expect', 'X-Request-ID', 'Forwarded']) {
    refuses(
      `a field for the service that is the gateway's to write: ${name}`,
      { services: [{ ...orders, forward: { headers: { [name]: '1' } } }] },
      `/services/0/forward/headers/${name}`,
      /the gateway writes this field itself/,
    )
  }

  refuses(
    'a field for the service that would say a second time who calls',
    { services: [{ ...orders, routes: [{ match: '/x', forward: { headers: { 'user-id': 'root' } } }] }] },
    '/services/0/routes/0/forward/headers/user-id',
    /leave it out in forward\.identity first/,
  )

  test('a field that says who calls may be written where the gateway does not', () => {
    const forward = { identity: { 'User-ID': false }, headers: { 'User-ID': 'root', Host: 'orders.internal' } }
    assert.deepEqual(mistakesOf({ services: [{ ...orders, forward }] }), [])
  })

  for (const [key, value, right] of [
    ['targets', 'http://127.0.0.1:4001', /^a list \[ … \] belongs here, not a string$/],
    ['routes', { 'GET /': {} }, /^a list \[ … \] belongs here, not an object \{ … \}$/],
    ['name', 5, /^a string belongs here, not a number$/],
    ['targets', undefined, /^this key is missing$/],
  ] as const) {
    refuses(
      `a value of another type, or none: ${key} is ${JSON.stringify(value)}`,
      { services: [{ ...orders, [key]: value }] },
      `/services/0/${key}`,
      right,
    )
  }

  refuses('an empty file', '', '', /empty/)
  refuses('a file that is cut off', '{ "services": [', '', /closing bracket is missing/)
  refuses('a comment', '{ /* no */ "services": [] }', '', /no comments/)
  refuses('a byte order mark', '\ufeff{}', '', /byte order mark/)
  refuses(
    'a credential in a field that cannot arrive',
    {
      ...smallest,
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer' },
        k: { type: 'apiKey', in: 'header', name: 'X_Key' },
      },
    },
    '/securitySchemes/k/name',
    /X-API-Key/,
  )
  refuses('a key that stands twice', '{ "services": [], "services": [] }', '/services', /twice/)
  refuses('a name that could touch a prototype', '{ "__proto__": {}, "services": [] }', '/__proto__', /not allowed/)
  refuses(
    'a number that overflows',
    '{ "services": [], "gateway": { "listen": { "port": 1e999 } } }',
    '/gateway/listen/port',
    /too large/,
  )
  for (const origin of [
    '*',
    'null',
    'https://*.example',
    'https://app.example/',
    'https://APP.example',
    'https://app.example:443',
    'app.example',
    'ws://app.example',
  ]) {
    refuses(
      `${origin} as an origin, which no browser sends or anybody could`,
      { ...smallest, gateway: { cors: { origins: [origin] } } },
      '/gateway/cors/origins/0',
      /what a browser sends/,
    )
  }
  refuses(
    'the same rate twice',
    {
      services: [{ ...orders, limits: { rate: [60, 600].map((requests) => ({ requests, per: '1m' })) } }],
    },
    '/services/0/limits/rate/1',
    /keep the stricter one/,
  )
  refuses(
    'a rate by something that nothing is counted by',
    { services: [{ ...orders, limits: { rate: [{ requests: 1, per: '1m', by: 'user' }] } }] },
    '/services/0/limits/rate/0/by',
    /"caller", "key", "organization"/,
  )
  refuses(
    'a limit of no requests at a time',
    { services: [{ ...orders, limits: { concurrent: 0 } }] },
    '/services/0/limits/concurrent',
    /at least one/,
  )
  refuses('no services', { services: [] }, '/services', /at least one/)
  refuses('no services key', {}, '/services', /missing/)
  refuses(
    'an unknown key, with the one that was meant',
    { ...smallest, servces: [] },
    '/servces',
    /did you mean "services"/,
  )
  refuses(
    'an unknown key deep inside',
    { services: [{ ...orders, timeouts: { conect: '1s' } }] },
    '/services/0/timeouts/conect',
    /did you mean "connect"/,
  )
  refuses('a missing key', { services: [{ name: 'a', path: '/a', security: [] }] }, '/services/0/targets', /missing/)
  refuses(
    'two services of one name',
    { services: [orders, { ...orders, path: '/o' }] },
    '/services/1/name',
    /\/services\/0 has the name/,
  )
  refuses('two services at one path', { services: [orders, { ...orders, name: 'o' }] }, '/services/1/path', /already/)
  refuses(
    'paths that differ only by case',
    { services: [orders, { ...orders, name: 'o', path: '/Orders' }] },
    '/services/1/path',
    /case/,
  )
  refuses(
    'paths that overlap',
    { services: [orders, { ...orders, name: 'o', path: '/orders/old' }] },
    '/services/1/path',
    /overlaps/,
  )
  refuses(
    'a path of the gateway itself',
    { services: [{ ...orders, path: '/oauth2' }] },
    '/services/0/path',
    /itself answers/,
  )
  refuses(
    'a path with an escaped slash',
    { services: [{ ...orders, path: '/a%2fb' }] },
    '/services/0/path',
    /plain segments/,
  )
  refuses(
    'a scheme that is not declared',
    { services: [{ ...orders, security: [{ baerer: [] }] }] },
    '/services/0/security/0/baerer',
    /did you mean "bearer"/,
  )
  refuses(
    'an issuer that is not declared',
    { ...smallest, securitySchemes: { bearer: { type: 'http', scheme: 'bearer', issuers: ['locale'] } } },
    '/securitySchemes/bearer/issuers/0',
    /did you mean "local"/,
  )
  refuses(
    'no security anywhere',
    { services: [{ name: 'a', path: '/a', targets: ['http://127.0.0.1:1'] }] },
    '/services/0',
    /no security is given/,
  )
  refuses(
    'a target with credentials',
    { services: [{ ...orders, targets: ['http://u:p@127.0.0.1:1'] }] },
    '/services/0/targets/0',
    /no user name/,
  )
  refuses(
    'a target with a fragment',
    { services: [{ ...orders, targets: ['http://127.0.0.1:1/#x'] }] },
    '/services/0/targets/0',
    /fragment/,
  )
  refuses(
    'a target that is the gateway itself',
    { services: [{ ...orders, targets: ['http://localhost:8080'] }] },
    '/services/0/targets/0',
    /gateway itself/,
  )
  refuses(
    'a target that is no URL',
    { services: [{ ...orders, targets: ['127.0.0.1:4001'] }] },
    '/services/0/targets/0',
    /http:\/\//,
  )
  refuses(
    'a secret shorter than its algorithm needs',
    {
      ...smallest,
      issuers: {
        old: { type: 'secret', issuer: 'https://old.example', audience: 'api', algorithms: ['HS256'], secret: 'short' },
      },
    },
    '/issuers/old/secret',
    /32/,
  )
  refuses(
    'the algorithm none',
    {
      ...smallest,
      issuers: { x: { type: 'oidc', issuer: 'https://x.example', audience: 'api', algorithms: ['none'] } },
    },
    '/issuers/x/algorithms/0',
    /./,
  )
  refuses(
    'one issuer twice',
    {
      ...smallest,
      issuers: {
        a: { type: 'oidc', issuer: 'https://x.example', audience: 'api' },
        b: { type: 'oidc', issuer: 'https://x.example', audience: 'api' },
      },
    },
    '/issuers/b/issuer',
    /already/,
  )
  refuses(
    'a duration that is none',
    { services: [{ ...orders, timeouts: { connect: '-1s' } }] },
    '/services/0/timeouts/connect',
    /number and a unit/,
  )
  refuses(
    'a duration of nothing',
    { services: [{ ...orders, timeouts: { connect: '0s' } }] },
    '/services/0/timeouts/connect',
    /above zero/,
  )
  refuses(
    'a header field that would split the request',
    { services: [{ ...orders, forward: { headers: { 'X\r\nY': '1' } } }] },
    '/services/0/forward/headers/X\r\nY',
    /token/,
  )
  refuses(
    'an environment variable that is missing',
    { services: [{ ...orders, targets: ['${NOWHERE}'] }] },
    '/services/0/targets/0',
    /NOWHERE is not set/,
  )
  refuses(
    'two routes for the same requests',
    { services: [{ ...orders, routes: [{ match: 'GET /{id}' }, { match: 'GET /{name}' }] }] },
    '/services/0/routes/1/match',
    /same requests/,
  )
  refuses(
    'one port for both listeners',
    { ...smallest, gateway: { admin: { port: 8080 } } },
    '/gateway/admin/port',
    /ADMIN_PORT/,
  )
  refuses(
    'a policy that yields no boolean',
    { services: [{ ...orders, allow: { when: '"yes"' } }] },
    '/services/0/allow/when',
    /bool/,
  )

  test('all mistakes at once, in the order of the file, each with its line', () => {
    const mistakes = mistakesOf({
      gateway: { listen: { port: 99_999 } },
      services: [
        { name: 'A', path: 'a', targets: [], security: [{ nope: [] }] },
        { ...orders, tiemouts: {}, routes: [{ match: 'GET /{id}', allow: { when: 'caller.subjct == 1' } }] },
      ],
    })
    assert.deepEqual(
      mistakes.map(({ pointer }) => pointer),
      [
        '/gateway/listen/port',
        '/services/0/name',
        '/services/0/path',
        '/services/0/targets',
        '/services/0/security/0/nope',
        '/services/1/tiemouts',
        '/services/1/routes/0/allow/when',
      ],
    )
    assert.deepEqual(
      mistakes.map(({ line }) => line),
      mistakes.map(({ line }) => line).toSorted((a, b) => a - b),
    )
  })

  test('no secret is ever repeated', () => {
    const secret = 'hunter2-but-too-short'
    const issuers = {
      old: {
        type: 'secret',
        issuer: 'https://old.example',
        audience: 'api',
        algorithms: ['HS256'],
        secret: '${JWT_SECRET}',
      },
    }
    const said = JSON.stringify(mistakesOf({ ...smallest, issuers }, { JWT_SECRET: secret }))
    assert.match(said, /\/issuers\/old\/secret/)
    assert(!said.includes(secret))
  })
})

describe('the shared bad configurations', { skip: skipWithoutShared }, () => {
  const { cases } = skipWithoutShared ? { cases: [] } : vectors('bad-config.json')
  for (const { id, title, text } of cases) {
    test(`${id}: ${title}`, () => {
      const given =
        text ??
        JSON.stringify({ services: Array.from({ length: 100_000 }, (_, index) => ({ ...orders, name: `s${index}` })) })
      assert.notDeepEqual(mistakesOf(given), [])
    })
  }
})

describe('enforce', () => {
  const tried = (service: object, ...routes: object[]) => ({
    services: [{ ...orders, ...service, routes }],
  })
  const roles = { allow: { roles: ['admin'] } }

  test('"shadow" tries what is written beside it', () => {
    assert.deepEqual(mistakesOf(tried({ ...roles, enforce: 'shadow' }, { match: '/a', enforce: 'on' })), [])
    assert.deepEqual(mistakesOf(tried({}, { match: '/a', security: [{ bearer: ['admin'] }], enforce: 'shadow' })), [])
    assert.deepEqual(mistakesOf(tried({ enforce: 'shadow' }, { match: '/a', ...roles })), [])
  })
  refuses('with nothing to try', tried({ enforce: 'shadow' }), '/services/0/enforce', /nothing here could be tried/)
  refuses(
    'at a route that writes nothing of its own',
    tried(roles, { match: '/a', enforce: 'shadow' }),
    '/services/0/routes/0/enforce',
    /what its service asks for stays in force/,
  )
  refuses(
    'where trying one name would take another one away',
    tried(
      { security: [{ bearer: ['editor'] }] },
      { match: '/a', security: [{ bearer: ['admin'] }], enforce: 'shadow' },
    ),
    '/services/0/routes/0/security',
    /neither would be/,
  )
  refuses('another word', tried({ ...roles, enforce: 'maybe' }), '/services/0/enforce', /"on"\|"shadow"/)
})
