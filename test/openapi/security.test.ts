import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { EnforcedSecurity } from '../../src/openapi/document.ts'
import { createOwnPart } from '../../src/openapi/own.ts'
import { parse } from '../../src/openapi/parse.ts'
import { preparePart, publish } from '../../src/openapi/publish.ts'
import { sharedPath, skipWithoutShared } from '../vectors.ts'
import { api, byBearer, type Loose, ok, publishAll, publishOne, service, settings, textOf } from './service.ts'

const enforce = (security: EnforcedSecurity['security'], rest: Partial<EnforcedSecurity> = {}) => ({
  enforced: (): EnforcedSecurity => ({ security, consumed: [], limited: false, ...rest }),
})

test('case 59: every operation says itself what the gateway enforces, public ones with an empty list', () => {
  const document = api({ '/x': { get: { responses: ok }, put: { responses: ok }, post: { responses: ok } } })
  const { document: published } = publishOne(document, {
    enforced: (method) => {
      if (method === 'GET') return { security: [], consumed: [], limited: false }
      if (method === 'PUT')
        return {
          security: [{}, { bearer: ['admin'], apiKey: [] }],
          consumed: [],
          limited: false,
          allow: { roles: ['admin'] },
        }
      return byBearer
    },
  })
  const { get, put, post } = published.paths['/svc/x']
  assert.deepEqual(get.security, [])
  assert.deepEqual(put.security, [{}, { bearer: ['admin'], apiKey: [] }])
  assert.deepEqual(put['x-sallyport-allow'], { roles: ['admin'] })
  assert.deepEqual(post.security, [{ bearer: [] }])
  assert.equal(post['x-sallyport-allow'], undefined)
  const withDefault = publish([preparePart(service(document))], { ...settings, security: [{ bearer: [] }] }).document
  assert.deepEqual(withDefault.security, [{ bearer: [] }])
})

test('case 60: what a backend requires is handed down to its own operations, kept beside, and never enforced on others', () => {
  const a = api(
    { '/x': { get: { responses: ok }, put: { security: [], responses: ok }, post: { security: [{}], responses: ok } } },
    { security: [{ theirs: ['s'] }], components: { securitySchemes: { theirs: { type: 'http', scheme: 'bearer' } } } },
  )
  const b = api({ '/x': { get: { responses: ok } } })
  const { document } = publishAll(service(a, { name: 'a', ...enforce([]) }), service(b, { name: 'b' }))
  const { get, put, post } = document.paths['/a/x']
  assert.deepEqual(
    [get, put, post].map((operation) => operation['x-upstream-security']),
    [[{ theirs: ['s'] }], [], [{}]],
  )
  for (const operation of [get, put, post]) assert.deepEqual(operation.security, [])
  assert.equal(document.paths['/b/x'].get['x-upstream-security'], undefined)
  assert.deepEqual(document.paths['/b/x'].get.security, [{ bearer: [] }])
  assert.equal(document.security, undefined)
})

test('case 61: schemes of backends are hidden; what kind they are is said without their addresses', () => {
  const securitySchemes = {
    key: { type: 'apiKey', in: 'header', name: 'X-Key', description: 'get one at http://10.0.0.1' },
    oauth: {
      type: 'oauth2',
      flows: {
        authorizationCode: { authorizationUrl: 'https://phishing.test', tokenUrl: 'https://phishing.test', scopes: {} },
      },
    },
    oidc: { type: 'openIdConnect', openIdConnectUrl: 'http://169.254.169.254/' },
    remote: { $ref: 'https://evil.test/scheme.json' },
  }
  const { document } = publishOne(
    api({ '/x': { get: { security: [{ key: [] }], responses: ok } } }, { components: { securitySchemes } }),
  )
  assert.deepEqual(document.components.securitySchemes, settings.securitySchemes)
  assert.deepEqual(document['x-sallyport-services'].svc.securitySchemes, {
    key: { type: 'apiKey', in: 'header', name: 'X-Key' },
    oauth: { type: 'oauth2' },
    oidc: { type: 'openIdConnect' },
  })
  assert.ok(!/phishing|169\.254|evil|10\.0\.0\.1/.test(textOf(document)))
})

const scheme = (name: string) => ({ type: 'apiKey', in: 'header', name })
const both = {
  a: scheme('X-A'),
  b: { type: 'oauth2', flows: { clientCredentials: { tokenUrl: 'https://id.test/t', scopes: { s: 'S' } } } },
}
const passing = (upstream: string[], security: object[], consumed: EnforcedSecurity['consumed'] = []) => ({
  enforced: () => ({ security: security as EnforcedSecurity['security'], consumed, limited: false, upstream }),
})
const asking = (security: object[]) =>
  api({ '/x': { get: { security, responses: ok } } }, { components: { securitySchemes: both } })

test('case 61: a scheme that passes through is combined with each alternative of the gateway, with its scopes', () => {
  for (const [theirs, upstream, ours, expected] of [
    [
      [{ a: [] }, { b: ['s'] }],
      ['a', 'b'],
      [{ apiKey: [] }, { session: [] }],
      [
        { apiKey: [], svc_a: [] },
        { apiKey: [], svc_b: ['s'] },
        { session: [], svc_a: [] },
        { session: [], svc_b: ['s'] },
      ],
    ],
    [[{ a: [] }, {}], ['a'], [{ apiKey: [] }], [{ apiKey: [], svc_a: [] }, { apiKey: [] }]],
    [[{ a: [], b: ['s'] }], ['a'], [{ apiKey: [] }], [{ apiKey: [], svc_a: [] }]],
    [[{}], ['a'], [{ apiKey: [] }], [{ apiKey: [] }]],
    [[{ a: [] }], ['a'], [], [{ svc_a: [] }]],
    [[], ['a'], [], []],
  ] as const) {
    const { document, codes } = publishOne(asking([...theirs]), passing([...upstream], [...ours]))
    assert.deepEqual(document.paths['/svc/x'].get.security, expected)
    assert.deepEqual(codes, [])
  }
  const { document } = publishOne(asking([{ b: [] }]), passing(['b'], [{ apiKey: [] }]))
  assert.deepEqual(document.components.securitySchemes, {
    ...settings.securitySchemes,
    svc_b: { ...both.b, 'x-sallyport-upstream': 'svc' },
  })
})

test('case 61: a scheme that needs the place of one of the gateway, or that nobody knows, is not asked for but reported', () => {
  const covered = passing(['b', 'nobody'], [{ bearer: [] }], [{ in: 'header', name: 'Authorization' }])
  const { document, findings } = publishOne(asking([{ b: ['s'] }]), covered)
  assert.deepEqual(document.paths['/svc/x'].get.security, [{ bearer: [] }])
  assert.deepEqual(document.components.securitySchemes, settings.securitySchemes)
  assert.deepEqual(
    findings.map(({ severity, code }) => [severity, code]),
    [
      ['warning', 'upstream-scheme-covered'],
      ['warning', 'unknown-upstream-scheme'],
    ],
  )
})

test('case 62: a requirement that names no scheme of the gateway is never published; that service is left out, the others stand', () => {
  const document = api({ '/x': { get: { security: [{ undefinedByThem: [] }], responses: ok } } })
  const { document: published, findings } = publishAll(
    service(document, { name: 'good' }),
    service(document, { name: 'bad', ...enforce([{ nobody: [] }]) }),
  )
  assert.deepEqual(Object.keys(published.paths), ['/good/x'])
  const [error] = findings.filter(({ severity }) => severity === 'error')
  assert.equal(error?.service, 'bad')
  assert.equal(error?.code, 'not-published')
  assert.match(error!.message, /"nobody" is not defined/)
})

test('case 63: Authorization, Accept and Content-Type parameters go in every spelling, place and by reference', () => {
  const parameter = (name: string, location = 'header') => ({
    name,
    in: location,
    required: true,
    schema: { $ref: '#/components/schemas/OnlyThere' },
  })
  const { document, codes } = publishOne(
    api(
      {
        '/x': {
          parameters: [{ $ref: '#/components/parameters/Auth' }],
          get: {
            parameters: [
              parameter('AUTHORIZATION'),
              parameter('accept'),
              parameter('Content-Type'),
              parameter('Authorization', 'query'),
              parameter('X-Authorization'),
            ],
            responses: { 200: { description: 'ok', headers: { 'Content-Type': { schema: {} } } } },
          },
          put: { parameters: [{ $ref: '#/components/parameters/Twice' }], responses: ok },
        },
        '/y': { get: { parameters: [{ $ref: '#/paths/~1x/get/parameters/0' }], responses: ok } },
      },
      {
        components: {
          parameters: { Auth: parameter('authorization'), Twice: { $ref: '#/components/parameters/Auth' } },
          schemas: { OnlyThere: {} },
        },
      },
    ),
  )
  const { get, put } = document.paths['/svc/x']
  assert.deepEqual(
    get.parameters.map((one: Loose) => `${one.in} ${one.name}`),
    ['query Authorization', 'header X-Authorization'],
  )
  assert.equal(put.parameters, undefined)
  assert.equal(document.paths['/svc/y'].get.parameters, undefined)
  assert.equal(document.components.parameters, undefined, 'the components are gone with their uses')
  assert.deepEqual(get.security, [{ bearer: [] }], 'the scheme stands for the parameter')
  assert.equal(codes.filter((code) => code === 'authorization-parameter').length, 5)
  assert.equal(codes.filter((code) => code === 'ignored-parameter').length, 2)
  assert.ok(!codes.includes('authorization-not-covered'))
  const open = publishOne(
    api(
      { '/x': { get: { parameters: [parameter('Authorization')], responses: ok } } },
      { components: { schemas: { OnlyThere: {} } } },
    ),
    enforce([]),
  )
  assert.deepEqual(
    open.document.paths['/svc/x'].get.security,
    [],
    'no scheme is claimed that the gateway does not check',
  )
  assert.match(open.findings.at(-1)!.message, /GET \/svc\/x is public and wants an Authorization field/)
})

test('case 63: no document of the corpus keeps such a parameter', { skip: skipWithoutShared }, () => {
  for (const name of [
    's30-fastapi-orders.json',
    's30-gravitee-portal-api-3.18.yaml',
    's30-readme-schema-circular.json',
    's31-springdoc-security-app11.json',
    'syn-A-kitchen-sink.yaml',
  ]) {
    const parsed = parse(readFileSync(sharedPath('corpus', name)))
    assert.equal(parsed.outcome, 'read')
    const { document, codes } = publishOne(parsed.document)
    assert.ok(codes.includes('authorization-parameter'), name)
    assert.ok(
      !/"name":"authorization","in":"header"|"in":"header","name":"authorization"/i.test(
        textOf([document.paths, document.components.parameters]),
      ),
      name,
    )
  }
})

test('case 64: parameters that carry a credential the gateway consumes go, others stay', () => {
  const parameter = (location: string, name: string) => ({ name, in: location, schema: { type: 'string' } })
  const document = api(
    {
      '/x': {
        get: {
          parameters: [
            parameter('header', 'x-api-key'),
            parameter('header', 'X-Other-Key'),
            parameter('query', 'api_key'),
            parameter('query', 'API_KEY'),
            parameter('cookie', '__Host-shop'),
            parameter('cookie', 'session'),
            { $ref: '#/components/parameters/Key' },
            { $ref: '#/components/parameters/Page' },
          ],
          responses: ok,
        },
      },
    },
    { components: { parameters: { Key: parameter('header', 'X-API-KEY'), Page: parameter('query', 'page') } } },
  )
  const consumed = [
    { in: 'header', name: 'X-API-Key' },
    { in: 'query', name: 'api_key' },
    { in: 'cookie', name: '__Host-shop' },
  ] as const
  const left = (rest: Partial<EnforcedSecurity>) =>
    publishOne(document, enforce([{ apiKey: [] }], rest)).document.paths['/svc/x'].get.parameters.map(
      (one: Loose) => one.$ref ?? `${one.in} ${one.name}`,
    )
  assert.deepEqual(left({ consumed }), [
    'header X-Other-Key',
    'query API_KEY',
    'cookie session',
    '#/components/parameters/svc_Page',
  ])
  assert.equal(left({}).length, 7, 'what the gateway does not consume is not its business')
})

test('case 65: other cookies are kept', () => {
  const { document, codes } = publishOne(
    api({
      '/x': {
        get: {
          parameters: [
            { name: 'Cookie', in: 'header', schema: {} },
            { name: 'theme', in: 'cookie', schema: {} },
          ],
          responses: ok,
        },
      },
    }),
  )
  assert.equal(document.paths['/svc/x'].get.parameters.length, 2)
  assert.deepEqual(codes, ['cookie-parameter'])
})

test('case 66: an answer may describe any header field', () => {
  const headers = { 'Content-Type': { schema: {} }, Authorization: { schema: {} } }
  const { document } = publishOne(api({ '/x': { get: { responses: { 200: { description: 'ok', headers } } } } }))
  assert.deepEqual(document.paths['/svc/x'].get.responses['200'].headers, headers)
})

const published = (
  securitySchemes: Record<string, object>,
  security: EnforcedSecurity['security'],
  document = api({ '/x': { get: { responses: ok } } }),
) => {
  const { document: whole, byService } = publish([preparePart(service(document, enforce(security)))], {
    ...settings,
    securitySchemes: securitySchemes as Loose,
  })
  return { whole: whole as Loose, own: byService.get('svc') as Loose }
}

test('case 67: an API key in the Authorization field is a scheme like others, and stands for the parameter', () => {
  const token = { type: 'apiKey', in: 'header', name: 'Authorization' }
  const document = api({
    '/x': {
      get: {
        parameters: [{ name: 'Authorization', in: 'header', schema: { type: 'string', pattern: '^Token ' } }],
        responses: ok,
      },
    },
  })
  const { whole } = published({ token }, [{ token: [] }], document)
  assert.deepEqual(whole.components.securitySchemes, { token })
  assert.deepEqual(whole.paths['/svc/x'].get.security, [{ token: [] }])
  assert.equal(whole.paths['/svc/x'].get.parameters, undefined)
})

test('case 68: other HTTP schemes are described as they are', () => {
  const dpop = { type: 'http', scheme: 'dpop', description: 'RFC 9449; the dialog of Swagger UI does not offer it' }
  const { whole } = published({ dpop }, [{ dpop: [] }])
  assert.deepEqual(whole.components.securitySchemes, { dpop })
})

test("case 69: flows are the gateway's, in every document, and never a backend's", () => {
  const oauth2 = {
    type: 'oauth2',
    flows: {
      clientCredentials: { tokenUrl: 'http://gateway.test/oauth2/token', scopes: { orders: 'Orders', admin: 'All' } },
    },
  }
  const theirs = {
    type: 'oauth2',
    flows: { implicit: { authorizationUrl: 'https://phishing.test', scopes: { everything: '' } } },
  }
  const document = api(
    { '/x': { get: { security: [{ oauth2: ['everything'] }], responses: ok } } },
    { components: { securitySchemes: { oauth2: theirs } } },
  )
  const { whole, own } = published({ oauth2 }, [{ oauth2: ['orders'] }], document)
  for (const one of [whole, own]) {
    assert.deepEqual(
      one.components.securitySchemes,
      { oauth2 },
      'equal names carry an authorization from document to document',
    )
    assert.deepEqual(one.paths['/svc/x'].get.security, [{ oauth2: ['orders'] }])
    assert.ok(!textOf(one).includes('phishing'))
  }
})

test('an operation of a service that asks for a credential itself says how it gets one', () => {
  const document = api(
    {
      '/asks': { get: { description: 'Mine.', security: [{ basic: [] }, { 'a`b': ['x'] }], responses: ok } },
      '/silent': { get: { responses: ok, security: [] } },
    },
    { components: { securitySchemes: { basic: { type: 'http', scheme: 'basic' } } } },
  )
  const modes = ['passthrough', 'none', 'gateway-jwt', 'exchange', 'client-credentials', 'static']
  const said = modes.map((forward) => {
    const { paths } = publishOne(document, { enforced: () => ({ ...byBearer, forward }) }).document
    assert.equal(paths['/svc/silent'].get.description, undefined)
    assert.equal(paths['/svc/silent'].get['x-sallyport-forward'], undefined)
    const { get } = paths['/svc/asks']
    assert.equal(get['x-sallyport-forward'], forward)
    assert.deepEqual(get['x-upstream-security'], [{ basic: [] }, { 'a`b': ['x'] }])
    assert.match(get.description, /^Mine\.\n\n\*The service itself asks for `basic`, `a b`; .*\.\*$/)
    return get.description
  })
  assert.equal(new Set(said).size, modes.length)
})

test('case 70: extensions of backends are kept but for those that steer gateways', () => {
  const extensions = {
    'x-mine': 1,
    'x-kubernetes-action': 'list',
    'x-sallyport-allow': { roles: [] },
    'x-gateway-url': 'http://10.0.0.1',
    'x-kong-plugin': {},
    'x-google-backend': { address: 'http://10.0.0.1' },
    'x-amazon-apigateway-integration': { uri: 'http://10.0.0.1' },
    'x-upstream-security': [{}],
  }
  const { document } = publishOne(
    api({
      '/x': {
        ...extensions,
        get: {
          ...extensions,
          responses: {
            200: {
              description: 'ok',
              ...extensions,
              content: { a: { schema: { ...extensions, properties: extensions } } },
            },
          },
        },
      },
    }),
  )
  const item = document.paths['/svc/x']
  for (const place of [item, item.get, item.get.responses['200'], item.get.responses['200'].content.a.schema]) {
    assert.equal(place['x-mine'], 1)
    assert.equal(place['x-kubernetes-action'], 'list')
    assert.ok(
      !/x-(sallyport|gateway|kong|google|amazon|upstream)-(allow|url|plugin|backend|apigateway|security)/.test(
        Object.keys(place).join(' '),
      ),
    )
  }
})

test("the gateway's own operations stand under their own tag, and only those that are there", () => {
  const own = createOwnPart({
    documents: true,
    health: true,
    token: { grants: ['client_credentials', 'password', 'refresh_token'] },
    me: { security: [{ bearer: [] }] },
    session: true,
    keys: true,
  })
  const part = preparePart(service(api({ '/x': { get: { responses: ok } } })))
  const { document, byService } = publish([part], { ...settings, own })
  const { paths, tags, components } = document as Loose
  assert.deepEqual(Object.keys(paths), [
    '/openapi.json',
    '/openapi.yaml',
    '/openapi/{service}.json',
    '/livez',
    '/readyz',
    '/token',
    '/oauth2/token',
    '/login',
    '/logout',
    '/logout/backchannel',
    '/me',
    '/.auth/me',
    '/.well-known/gateway/jwks.json',
    '/svc/x',
  ])
  assert.equal(tags[0].name, 'gateway')
  assert.deepEqual(paths['/livez'].get.security, [])
  assert.deepEqual(paths['/me'].get.security, [{ bearer: [] }])
  assert.deepEqual(
    paths['/token'].post.requestBody.content['application/x-www-form-urlencoded'].schema.properties.grant_type.enum,
    ['client_credentials', 'password', 'refresh_token'],
  )
  assert.ok(components.schemas.Caller && components.schemas.Problem)
  assert.deepEqual(Object.keys((byService.get('svc') as Loose).paths), ['/svc/x'])
  assert.deepEqual(createOwnPart({}), { paths: {}, components: {}, tags: [] })
  assert.deepEqual(Object.keys(createOwnPart({ health: true }).paths), ['/livez', '/readyz'])
})
