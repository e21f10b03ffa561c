import assert from 'node:assert/strict'
import { createHash, createHmac, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { request } from 'undici'
import { type Backend, startBackend } from '../backend.ts'
import { sendRaw } from '../raw.ts'
import { eventually, type GatewayUnderTest, startGateway } from '../sallyport.ts'

/**
 * Secrets that can be told from everything else are put wherever a gateway is given secrets, and every path and every
 * error is walked with them. Afterwards none may stand in a log line, in a metric, in an answer of the gateway's own,
 * or in a file of the store; neither as it is nor inside Base64.
 */
class Canaries {
  readonly #cores = new Map<string, readonly string[]>()

  /** A secret of 32 visible characters and more, of which half is random. */
  make(what: string): string {
    const core = randomBytes(16).toString('hex')
    this.#cores.set(what, [core])
    return `canary-${what.replaceAll(' ', '-')}-${core}`
  }

  /** A secret that somebody else made. Of a JWT the claims and the signature are secret, the header is not. */
  watch(what: string, text: unknown): string {
    assert(typeof text === 'string' && text.length >= 16, `no secret: ${what} ${text}`)
    const jwt = text.split('.')
    this.#cores.set(what, jwt.length === 3 ? jwt.slice(1) : [text])
    return text
  }

  get size(): number {
    return this.#cores.size
  }

  /** Those that stand in a text, by name. */
  foundIn(text: string): string[] {
    return [...this.#cores].flatMap(([what, cores]) =>
      cores.some((core) => spellings(core).some((spelling) => text.includes(spelling))) ? [what] : [],
    )
  }
}

/** As it is, percent-encoded, and the part that is the same wherever it begins inside Base64. */
function spellings(core: string): string[] {
  const encoded = [0, 1, 2].flatMap((offset) => {
    const base64 = Buffer.from('\0'.repeat(offset) + core).toString('base64')
    return [base64.slice(Math.ceil((offset * 8) / 6), -4)]
  })
  return [core, encodeURIComponent(core), ...encoded]
}

/** A log line as somebody who collects logs may see it: with everything that hangs on its errors. */
function legible(value: unknown, depth = 0): string {
  if (depth > 8) return ''
  if (value instanceof Error) {
    const { name, message, stack, cause } = value
    return [
      name,
      message,
      stack,
      legible(cause, depth + 1),
      ...Object.values(value).map((part) => legible(part, depth + 1)),
    ].join(' ')
  }
  if (Buffer.isBuffer(value)) return value.toString('latin1')
  if (value === null || typeof value !== 'object') return String(value)
  return Object.entries(value)
    .map(([key, part]) => `${key}=${legible(part, depth + 1)}`)
    .join(' ')
}

const canaries = new Canaries()
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
const jwtSecret = canaries.make('secret of an issuer')

function jwt(claims: object, secret = jwtSecret, header: object = {}): string {
  const now = Math.floor(Date.now() / 1_000)
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
  const payload = {
    iss: 'https://old.example',
    aud: 'api',
    sub: 'grace',
    iat: now,
    exp: now + 300,
    jti: randomBytes(8).toString('hex'),
    ...claims,
  }
  const content = `${encode({ alg: 'HS256', typ: 'at+jwt', ...header })}.${encode(payload)}`
  return `${content}.${createHmac('sha256', secret).update(content).digest('base64url')}`
}

const secrets = {
  password: canaries.make('password of a user'),
  clientSecret: canaries.make('secret of a client'),
  staticCredential: canaries.make('static credential'),
  staticHeader: canaries.make('static header'),
  introspection: canaries.make('introspection secret'),
  exchange: canaries.make('secret for token exchange'),
  machine: canaries.make('secret for client credentials'),
  babbled: canaries.make('token that is not JSON'),
  documentToken: canaries.make('token in the address of a document'),
  headerKey: canaries.make('api key in a header'),
  queryKey: canaries.make('api key in the query'),
  cookieKey: canaries.make('api key in a cookie'),
} as const

const problems: string[] = []
let gateway: GatewayUnderTest
let echo: Backend
let endpoints: Backend
const open: (() => unknown)[] = []

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as { port: number }).port
}

before(async () => {
  echo = await startBackend()
  // An authorization server that repeats what it was sent, in every way in which one can fail.
  endpoints = await startBackend((req, res) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk) => chunks.push(chunk))
    req.on('end', () => {
      const said = JSON.stringify({
        error: 'invalid_client',
        error_description: `${Buffer.concat(chunks)} ${JSON.stringify(req.headers)}`,
      })
      res.setHeader('Content-Type', 'application/json')
      switch (req.url) {
        case '/refuses':
          return res.writeHead(400).end(said)
        case '/fails':
          return res.writeHead(500).end(said)
        case '/babbles':
          // A token where JSON should be: parsers quote what they trip over.
          return res.end(secrets.babbled.slice(-36))
        case '/document':
          return res.end('{"openapi":"9.9.9"}')
        case '/inactive':
          return res.end('{"active":false}')
        default:
          return req.socket.destroy()
      }
    })
  })
  const hanging = await startBackend(() => {})
  const breaking = await startBackend((req) => void req.socket.destroy())
  const redirecting = await startBackend((_req, res) => void res.writeHead(302, { Location: '/elsewhere' }).end())
  // Answers with the request itself, which is no answer.
  const babbling = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (chunk) => socket.end(chunk))
  })
  const babble = await listen(babbling)
  const gone = createServer()
  const closed = await listen(gone)
  gone.close()
  for (const backend of [echo, endpoints, hanging, breaking, redirecting])
    open.push(() => backend[Symbol.asyncDispose]())
  open.push(() => babbling.close())

  const service = (name: string, url: string, more: object = {}) => ({
    name,
    path: `/${name}`,
    targets: [url],
    openapi: false,
    ...more,
  })
  const introspection = (path: string) => ({
    type: 'introspection',
    endpoint: `${endpoints.url}${path}`,
    clientId: 'gateway',
    clientSecret: secrets.introspection,
    clientAuthentication: path === '/fails' ? 'client_secret_post' : 'client_secret_basic',
  })
  const tokens = (type: string, path: string, clientSecret: string) => ({
    forward: {
      credentials: {
        type,
        tokenEndpoint: `${endpoints.url}${path}`,
        clientId: 'gateway',
        clientSecret,
        ...(path === '/fails' && { clientAuthentication: 'client_secret_post' }),
      },
    },
  })
  const opaque = (name: string) => ({ security: [{ [name]: [] }] })
  gateway = await startGateway(
    {
      store: { type: 'sqlite', path: 'data/sallyport.db' },
      issuers: {
        local: {
          type: 'embedded',
          users: 'users.json',
          grants: ['authorization_code', 'refresh_token', 'client_credentials', 'password'],
          clients: [
            {
              id: 'web',
              secret: '${CLIENT_SECRET}',
              grants: ['authorization_code', 'refresh_token', 'password', 'client_credentials'],
              redirectUris: ['https://app.example/callback'],
            },
          ],
        },
        old: { type: 'secret', issuer: 'https://old.example', audience: 'api', secret: jwtSecret },
        away: { type: 'oidc', issuer: 'https://away.example', audience: 'api', jwksUri: `${endpoints.url}/fails` },
        refuses: introspection('/refuses'),
        fails: introspection('/fails'),
        babbles: introspection('/babbles'),
        inactive: introspection('/inactive'),
      },
      securitySchemes: {
        bearer: { type: 'http', scheme: 'bearer', issuers: ['local', 'old', 'away'] },
        easyAuth: { type: 'apiKey', in: 'header', name: 'X-MS-TOKEN-AAD-ID-TOKEN', issuers: ['old'] },
        apiKey: {
          type: 'apiKey',
          in: 'header',
          name: 'X-API-Key',
          keys: [{ sha256: sha256(secrets.headerKey), subject: 'robot' }],
        },
        queryKey: {
          type: 'apiKey',
          in: 'query',
          name: 'api_key',
          keys: [{ sha256: sha256(secrets.queryKey), subject: 'query-robot' }],
        },
        cookieKey: {
          type: 'apiKey',
          in: 'cookie',
          name: 'key',
          keys: [{ sha256: sha256(secrets.cookieKey), subject: 'cookie-robot' }],
        },
        ...Object.fromEntries(
          ['refuses', 'fails', 'babbles', 'inactive'].map((name) => [
            name,
            { type: 'http', scheme: 'bearer', issuers: [name] },
          ]),
        ),
      },
      security: [{ bearer: [] }, { easyAuth: [] }, { apiKey: [] }, { queryKey: [] }, { cookieKey: [] }],
      services: [
        service('echo', echo.url, {
          forward: { headers: { 'X-Partner': secrets.staticHeader } },
          routes: [
            { match: 'GET /admin', allow: { roles: ['admin'] } },
            { match: 'GET /when', allow: { when: "caller.claims.nothing.here == 'x'" } },
            { match: 'GET /once', limits: { rate: [{ requests: 1, per: '1h', by: 'caller' }] } },
            { match: 'POST /small', limits: { body: '16b' } },
          ],
        }),
        service('guests', echo.url, { security: [{ bearer: [] }, {}], invalidCredentials: 'anonymous' }),
        service('public', echo.url, { security: [] }),
        service('documented', echo.url, { openapi: `${endpoints.url}/fails?token=${secrets.documentToken}` }),
        service('misdocumented', echo.url, { openapi: `${endpoints.url}/document?token=${secrets.documentToken}` }),
        service('closed', `http://127.0.0.1:${closed}`),
        service('hangs', hanging.url, { timeouts: { response: '100ms' } }),
        service('breaks', breaking.url),
        service('babbles', `http://127.0.0.1:${babble}`),
        service('redirects', redirecting.url),
        service('partner', `http://127.0.0.1:${closed}`, {
          forward: { credentials: { type: 'static', value: 'Bearer ${STATIC}' } },
        }),
        service('minted', breaking.url, { forward: { credentials: 'gateway-jwt' } }),
        service('exchange-refused', echo.url, tokens('exchange', '/refuses', secrets.exchange)),
        service('exchange-failed', echo.url, tokens('exchange', '/fails', secrets.exchange)),
        service('exchange-babbled', echo.url, tokens('exchange', '/babbles', secrets.exchange)),
        service('exchange-broken', echo.url, tokens('exchange', '/breaks', secrets.exchange)),
        service('machine-refused', echo.url, tokens('client-credentials', '/refuses', secrets.machine)),
        service('machine-failed', echo.url, tokens('client-credentials', '/fails', secrets.machine)),
        service('machine-babbled', echo.url, tokens('client-credentials', '/babbles', secrets.machine)),
        service('opaque-refused', echo.url, opaque('refuses')),
        service('opaque-failed', echo.url, opaque('fails')),
        service('opaque-babbled', echo.url, opaque('babbles')),
        service('opaque-inactive', echo.url, opaque('inactive')),
      ],
    },
    {
      environment: { CLIENT_SECRET: secrets.clientSecret, STATIC: secrets.staticCredential },
      files: { 'users.json': JSON.stringify([{ username: 'ada', password: secrets.password, roles: ['viewer'] }]) },
    },
  )
})
after(async () => {
  await gateway?.[Symbol.asyncDispose]()
  for (const close of open) await close()
})

interface Sent {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: string
  /** Another address than the gateway's. */
  readonly at?: string
}

/** Sends, and keeps every answer that speaks of a failure: no service here says one, so it is the gateway's own. */
async function send(path: string, { method, headers = {}, body, at = gateway.url }: Sent = {}) {
  const answer = await request(`${at}${path}`, {
    method: (method ?? (body === undefined ? 'GET' : 'POST')) as 'GET',
    headers,
    ...(body !== undefined && { body }),
  })
  const text = await answer.body.text()
  if (answer.statusCode >= 400) problems.push(`${path.split('?')[0]} ${JSON.stringify(answer.headers)} ${text}`)
  return { status: answer.statusCode, headers: answer.headers, text, json: () => JSON.parse(text) }
}

async function sendBytes(...lines: string[]): Promise<number> {
  const { status, text } = await sendRaw(gateway.url, `${lines.join('\r\n')}\r\n\r\n`, 500)
  if (status >= 400) problems.push(text)
  return status
}

const form = (fields: Record<string, string>, headers: Record<string, string> = {}): Sent => ({
  headers: { 'Content-Type': 'application/x-www-form-urlencoded', ...headers },
  body: new URLSearchParams(fields).toString(),
})
const basic = (id: string, secret: string) => ({
  Authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`,
})
const bearer = (token: string) => ({ Authorization: `Bearer ${token}` })
const everywhere = [
  ...[
    'echo',
    'echo/admin',
    'echo/when',
    'echo/once',
    'echo/once',
    'guests',
    'public',
    'documented',
    'closed',
    'hangs',
    'breaks',
    'babbles',
  ],
  ...['redirects', 'partner', 'minted', 'exchange-refused', 'exchange-failed', 'exchange-babbled', 'exchange-broken'],
  ...[
    'machine-refused',
    'machine-failed',
    'machine-babbled',
    'opaque-refused',
    'opaque-failed',
    'opaque-babbled',
    'opaque-inactive',
  ],
  ...['nothing/here', 'openapi.json', 'docs', 'readyz', 'me'],
]

/** One set of header fields to every service, every failure and every endpoint. Returns how often each status came. */
async function sendEverywhere(headers: Record<string, string>, query = ''): Promise<ReadonlySet<number>> {
  const answers = await Promise.all(everywhere.map((path) => send(`/${path}${query}`, { headers })))
  return new Set(answers.map(({ status }) => status))
}

describe('a secret is seen by whom it is for and by nobody else', () => {
  test('tokens: good, expired, forged, for others, of issuers that cannot be asked', async () => {
    const good = canaries.watch('good token', jwt({}))
    const statuses = await sendEverywhere(bearer(good))
    for (const status of [200, 302, 401, 403, 404, 429, 502, 503, 504])
      assert(statuses.has(status), `${status} never came`)
    const away = { iss: 'https://away.example' }
    for (const [what, token] of [
      ['expired token', jwt({ iat: 1_600_000_000, exp: 1_600_000_060 })],
      ['forged token', jwt({}, 'another secret that has its thirty-two bytes')],
      ['token for others', jwt({ aud: 'others' })],
      ['token of a stranger', jwt({ iss: 'https://stranger.example' })],
      ['token without signature', `${jwt({}, jwtSecret, { alg: 'none' })}`],
      ['token of an issuer that is away', jwt(away, jwtSecret, { alg: 'RS256', kid: 'one' })],
      ['token with a claim of another form', jwt({ roles: { admin: true } })],
      ['opaque token', canaries.make('opaque token')],
    ] as const) {
      if (what !== 'opaque token') canaries.watch(what, token)
      assert(!(await sendEverywhere(bearer(token))).has(500))
    }
  })

  test('API keys in fields, in the query and in cookies, and tokens in fields of their own', async () => {
    for (const [headers, query] of [
      [{ 'X-API-Key': secrets.headerKey }, ''],
      [{ 'X-API-Key': canaries.make('bad api key in a header') }, ''],
      [{ Cookie: `key=${secrets.cookieKey}` }, ''],
      [
        {
          Cookie: `key=${canaries.make('bad api key in a cookie')}; session=${canaries.make('session of another kind')}`,
        },
        '',
      ],
      [{}, `?api_key=${secrets.queryKey}`],
      [{}, `?api_key=${canaries.make('bad api key in the query')}`],
      [{}, `?access_token=${canaries.make('token in the query')}`],
      [{ 'X-MS-TOKEN-AAD-ID-TOKEN': canaries.watch('good X-MS token', jwt({ sub: 'easy' })) }, ''],
      [
        {
          'X-MS-TOKEN-AAD-ID-TOKEN': canaries.make('bad X-MS token'),
          'X-MS-TOKEN-AAD-ACCESS-TOKEN': canaries.make('X-MS access token'),
        },
        '',
      ],
      [{ 'X-MS-CLIENT-PRINCIPAL': Buffer.from(canaries.make('X-MS principal')).toString('base64') }, ''],
      [basic('ada', canaries.make('password by Basic')), ''],
      [{ Authorization: `Digest response="${canaries.make('Digest response')}"` }, ''],
      [{ Authorization: canaries.make('credential without a scheme') }, ''],
      [{ 'Proxy-Authorization': `Basic ${canaries.make('proxy credential')}` }, ''],
      [
        { 'X-Forwarded-Access-Token': canaries.make('forwarded token'), 'X-CSRF-Token': canaries.make('CSRF token') },
        '',
      ],
    ] as const) {
      assert(!(await sendEverywhere(headers, query)).has(500))
    }
    assert.equal(
      (
        await send('/echo/small', {
          headers: { 'X-API-Key': secrets.headerKey },
          body: canaries.make('secret in a body that is too large'),
        })
      ).status,
      413,
    )
  })

  test('requests that no parser takes', async () => {
    const make = (what: string) => canaries.make(what)
    for (const status of [
      await sendBytes(
        'GET /echo HTTP/1.1',
        'Host: x',
        `Authorization: Bearer ${make('token in a broken request')}`,
        'Broken field: x',
      ),
      await sendBytes(
        'GET /echo HTTP/1.1',
        'Host: x',
        `Authorization: Bearer ${make('one of two tokens')}`,
        `Authorization: Bearer ${make('other of two tokens')}`,
      ),
      await sendBytes(
        'GET /echo HTTP/1.1',
        'Host: x',
        `X-API-Key: ${make('one of two keys')}`,
        `X-API-Key: ${make('other of two keys')}`,
      ),
      await sendBytes(`GET http://ada:${make('password in a URL')}@x/echo HTTP/1.1`, 'Host: x'),
      await sendBytes('GET /echo HTTP/1.1', `Host: ada:${make('password in Host')}@x`),
      await sendBytes(`GET /echo?api_key=${make('key in a query with a space')} x HTTP/1.1`, 'Host: x'),
      await sendBytes(`GET /echo?api_key=${make('key before a fragment')}#x HTTP/1.1`, 'Host: x'),
      await sendBytes('GET /echo HTTP/1.1', 'Host: x', `X_API_Key: ${make('key in a field with underscores')}`),
      await sendBytes(
        'GET /echo HTTP/1.1',
        'Host: x',
        `Authorization: Bearer ${make('oversized token')}${'x'.repeat(80_000)}`,
      ),
      await sendBytes(
        'GET /echo HTTP/1.1',
        'Host: x',
        `Cookie: key=${make('one of two cookies')}; key=${make('other of two cookies')}`,
      ),
      await sendBytes(
        'GET /echo HTTP/1.1',
        'Host: x',
        'Expect: magic',
        `X-API-Key: ${make('key with an expectation')}`,
      ),
    ])
      assert(status >= 400 && status < 500, String(status))
    const upgrade = [
      'Connection: Upgrade',
      'Upgrade: websocket',
      'Sec-WebSocket-Version: 13',
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    ]
    await sendBytes(
      'GET /closed HTTP/1.1',
      'Host: x',
      ...upgrade,
      `Authorization: Bearer ${make('token of a WebSocket')}`,
    )
  })

  test('the token endpoint: passwords, client secrets, codes, refresh tokens and their errors', async () => {
    const web = basic('web', secrets.clientSecret)
    const granted = await send(
      '/oauth2/token',
      form(
        { grant_type: 'password', username: 'ada', password: secrets.password, scope: 'openid offline_access' },
        web,
      ),
    )
    assert.equal(granted.status, 200, granted.text)
    const { access_token, refresh_token } = granted.json()
    assert.equal((await send('/echo', { headers: bearer(canaries.watch('access token', access_token)) })).status, 200)
    canaries.watch('refresh token', refresh_token)
    await sendEverywhere(bearer(refresh_token))
    const refreshed = await send('/oauth2/token', form({ grant_type: 'refresh_token', refresh_token }, web))
    assert.equal(refreshed.status, 200, refreshed.text)
    canaries.watch('second access token', refreshed.json().access_token)
    canaries.watch('second refresh token', refreshed.json().refresh_token)

    const code = await signIn()
    canaries.watch('authorization code', code.code)
    const exchanged = await send(
      '/oauth2/token',
      form(
        {
          grant_type: 'authorization_code',
          code: code.code,
          redirect_uri: 'https://app.example/callback',
          code_verifier: code.verifier,
        },
        web,
      ),
    )
    assert.equal(exchanged.status, 200, exchanged.text)
    canaries.watch('access token of a login', exchanged.json().access_token)
    await sendEverywhere(bearer(canaries.watch('id token', exchanged.json().id_token)))

    for (const [fields, headers] of [
      [{ grant_type: 'password', username: 'ada', password: canaries.make('wrong password') }, web],
      [{ grant_type: 'password', username: canaries.make('password typed as the name'), password: 'x' }, web],
      [{ grant_type: 'client_credentials' }, basic('web', canaries.make('wrong client secret'))],
      [
        {
          grant_type: 'client_credentials',
          client_id: 'web',
          client_secret: canaries.make('wrong client secret in a form'),
        },
        {},
      ],
      [
        {
          grant_type: 'client_credentials',
          client_assertion: canaries.make('client assertion'),
          client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        },
        {},
      ],
      [{ grant_type: 'refresh_token', refresh_token: canaries.make('unknown refresh token') }, web],
      [
        {
          grant_type: 'authorization_code',
          code: canaries.make('unknown code'),
          redirect_uri: 'https://app.example/callback',
          code_verifier: `${canaries.make('code verifier')}-long-enough`,
        },
        web,
      ],
      [
        {
          grant_type: 'authorization_code',
          code: code.code,
          redirect_uri: 'https://app.example/callback',
          code_verifier: code.verifier,
        },
        web,
      ],
      [{ grant_type: 'nonsense', password: canaries.make('password with a nonsense grant') }, web],
    ] as const) {
      const { status, text } = await send('/oauth2/token', form(fields, headers))
      assert(status === 400 || status === 401, `${status} ${text}`)
    }
    const json = JSON.stringify({ grant_type: 'password', password: canaries.make('password in JSON') })
    assert((await send('/token', { headers: { 'Content-Type': 'application/json' }, body: json })).status >= 400)
    const large = `grant_type=password&password=${canaries.make('password in a large form')}${'x'.repeat(200_000)}`
    assert(
      (await send('/token', { headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, body: large }))
        .status >= 400,
    )
    await send(
      '/oauth2/introspect',
      form(
        { token: canaries.make('introspected token') },
        basic('web', canaries.make('wrong secret at introspection')),
      ),
    )
    await send('/oauth2/revoke', form({ token: refreshed.json().access_token }, web))
    await send('/oauth2/revoke', form({ token: canaries.make('token to revoke') }, web))
    await send(
      `/oauth2/token?client_secret=${canaries.make('client secret in the query')}`,
      form({ grant_type: 'client_credentials' }),
    )
    await send(
      `/oauth2/authorize?client_id=web&id_token_hint=${canaries.make('id token hint')}&prompt=none&response_type=code`,
    )
  })

  test('the admin port: keys that are made, tokens that are looked at, mistakes', async () => {
    const admin = (path: string, body?: unknown) =>
      send(path, {
        at: gateway.adminUrl,
        ...(body !== undefined && { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }),
      })
    const made = await admin('/keys', { owner: 'ada' })
    assert.equal(made.status, 201, made.text)
    const { text, key } = made.json()
    canaries.watch('stored api key', text)
    assert.equal((await send('/echo', { headers: { 'X-API-Key': text } })).status, 200)
    const rotated = await admin(`/keys/${key.id}/rotate`, { overlap: '0s' })
    canaries.watch('rotated api key', rotated.json().text)
    await sendEverywhere({ 'X-API-Key': text })
    const looked: string[] = []
    const look = async (path: string, body?: unknown) => looked.push(`${path} ${(await admin(path, body)).text}`)
    const token = canaries.watch('explained token', jwt({ sub: 'explained' }))
    const key2 = canaries.make('explained api key')
    for (const headers of [bearer(token), bearer(`${token}x`), { 'X-API-Key': key2 }, { Cookie: `key=${key2}` }, {}])
      await look('/explain', { path: `/echo/admin?api_key=${key2}`, headers })
    for (const path of ['/partner', '/exchange-refused', '/machine-refused', '/opaque-failed', '/minted', '/echo'])
      await look('/explain', { path, headers: bearer(token) })
    await look('/inspect', { token })
    await look('/inspect', { token: canaries.make('inspected token') })
    await look('/explain', { path: '/echo', header: { Authorization: canaries.make('token in a wrong question') } })
    await look('/keys', { owner: 'ada', secret: canaries.make('unknown member of a new key') })
    await look('/keys')
    await look('/services')
    await look('/revocations')
    await look('/decisions')
    await look('/openapi.json')
    const { decisions } = (await admin('/decisions')).json()
    assert(decisions.length > 50, `${decisions.length} refusals are kept`)
    for (const { id } of decisions) await look(`/decisions/${id}`)
    assert.deepEqual(leaks(looked), [])
  })

  test('a services.json that is broken where its secrets stand', async () => {
    const original = JSON.parse(readFileSync(join(gateway.folder, 'services.json'), 'utf8'))
    const before = gateway.log.length
    const edits: ((definition: typeof original, secret: string) => unknown)[] = [
      (definition, secret) => (definition.issuers.old.secret = { text: secret }),
      (definition, secret) => (definition.issuers.old.secret = secret.slice(-20)),
      (definition, secret) => (definition.issuers.old.secret = ['${NOT_THERE}', secret]),
      (definition, secret) => (definition.issuers.old.secret = `${secret} \${NOT_THERE}`),
      (definition, secret) => (definition.issuers.old.secrt = secret),
      (definition, secret) => (definition.issuers.local.clients[0].secret = `with a space ${secret}`),
      (definition, secret) => (definition.issuers.refuses.clientSecrets = secret),
      (definition, secret) => (definition.services[0].targets = [`http://ada:${secret}@127.0.0.1:1`]),
      (definition, secret) =>
        (definition.services[0].forward = { credentials: { type: 'static', value: `Bearer ${secret}\n` } }),
      (definition, secret) => (definition.services[0].forward = { credentials: `static ${secret}` }),
      (definition, secret) => (definition.services[0].forward = { headers: { 'X-Key': `${secret}\u0000` } }),
      (definition, secret) => (definition.securitySchemes.apiKey.keys = [{ sha256: secret, subject: 'x' }]),
      (definition, secret) => (definition.store = { type: 'redis', url: `http://:${secret}@127.0.0.1` }),
      (definition, secret) => (definition.issuers.away.jwksUri = `ftp://ada:${secret}@x/jwks`),
    ]
    for (const [index, edit] of edits.entries()) {
      const definition = structuredClone(original)
      edit(definition, canaries.make(`secret in broken file ${index}`))
      await gateway.rewrite(definition)
      assert.equal(await gateway.running.reload(), false, `edit ${index} was taken`)
    }
    const text = JSON.stringify(original, null, 2)
    for (const [index, broken] of [
      text.replace(/"secret": "/, `"secret": '${canaries.make('secret behind a wrong quote')}", "x": "`),
      text.replace(/"secret": "/, `"secret": ${canaries.make('secret without quotes')}, "x": "`),
      text.replace(/"secret": "/, `"secret": "${canaries.make('secret with a bad escape')}\\x`),
      `${text}${canaries.make('secret behind the end')}`,
    ].entries()) {
      await gateway.rewrite(broken)
      assert.equal(await gateway.running.reload(), false, `text ${index} was taken`)
    }
    const users = canaries.make('password in a broken users file')
    const { writeFile } = await import('node:fs/promises')
    await writeFile(join(gateway.folder, 'users.json'), `[{ "username": "ada", "password": "${users}" "x" }]`)
    await gateway.rewrite(text)
    await gateway.running.reload()
    await eventually('the mistakes are told', () => gateway.log.length > before + edits.length)
    assert.equal((await send('/echo', { headers: { 'X-API-Key': secrets.headerKey } })).status, 200, 'it serves on')
  })

  test('the detector finds what it is shown', () => {
    const { password } = secrets
    for (const text of [
      password,
      encodeURIComponent(`x ${password}`),
      Buffer.from(`a:${password}`).toString('base64'),
      Buffer.from(`ab:${password}`).toString('base64url'),
      legible({ err: new Error('x', { cause: new Error(password) }) }),
      legible({ a: [{ b: Buffer.from(password) }] }),
    ])
      assert.deepEqual(canaries.foundIn(text), ['password of a user'])
    assert.deepEqual(canaries.foundIn('nothing'), [])
    const received = echo.received.map(({ raw }) => raw.join('\n')).join('\n')
    assert(canaries.foundIn(received).includes('good token'), 'a service sees what is passed through to it')
  })

  test('afterwards: not in a log line, a metric, an answer of the gateway, or a file of the store', async () => {
    assert(canaries.size >= 50, `${canaries.size} canaries`)
    assert(problems.length > 300, `${problems.length} problems`)
    assert(gateway.log.length > 500, `${gateway.log.length} log lines`)
    assert.deepEqual(leaks(problems), [], 'in answers')
    assert.deepEqual(leaks(gateway.log.map((line) => legible(line))), [], 'in the log')
    assert.deepEqual(leaks([(await send('/metrics', { at: gateway.adminUrl })).text]), [], 'in metrics')
    assert.deepEqual(leaks(storeFiles()), [], 'in the store while it runs')
    await gateway.running.close()
    assert.deepEqual(leaks(storeFiles()), [], 'in the store when it is closed')
    assert.deepEqual(leaks(gateway.log.map((line) => legible(line))), [], 'in the log of the end')
  })
})

/** What was found, and the beginning of where. */
function leaks(texts: readonly string[]): string[] {
  const found = new Map<string, string>()
  for (const text of texts)
    for (const what of canaries.foundIn(text)) if (!found.has(what)) found.set(what, text.slice(0, 300))
  return [...found].map(([what, text]) => `${what}: ${text}`)
}

function storeFiles(): string[] {
  const folder = join(gateway.folder, 'data')
  const files = readdirSync(folder)
  assert(files.includes('sallyport.db'), files.join())
  return files.map((file) => `${file} ${readFileSync(join(folder, file), 'latin1')}`)
}

/** A browser's way through the sign-in page, with a wrong password first. */
async function signIn(): Promise<{ readonly code: string; readonly verifier: string }> {
  const cookies = new Map<string, string>()
  const visit = async (path: string, more: Sent = {}) => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const answer = await send(path, {
      ...more,
      headers: { Accept: 'text/html', ...(cookie && { Cookie: cookie }), ...more.headers },
    })
    for (const line of [answer.headers['set-cookie'] ?? []].flat()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line)!
      cookies.set(name, value)
    }
    return answer
  }
  const pathOf = (location: unknown) => {
    const { pathname, search } = new URL(String(location), gateway.running.publicUrl)
    return pathname + search
  }
  const verifier = canaries.watch('good code verifier', randomBytes(32).toString('base64url'))
  const query = new URLSearchParams({
    client_id: 'web',
    redirect_uri: 'https://app.example/callback',
    response_type: 'code',
    scope: 'openid',
    state: 'what the client wants back',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  })
  let answer = await visit(`/oauth2/authorize?${query}`)
  const passwords = [canaries.make('wrong password on the page'), secrets.password]
  for (let hop = 0; hop < 10; hop += 1) {
    const { location } = answer.headers
    if (location !== undefined) {
      const code = new URL(String(location), gateway.url).searchParams.get('code')
      if (code !== null) {
        // The id of a sign-in under way stands in its address as well; the cookie's signature is what nobody else has.
        for (const [name, value] of cookies)
          if (!/-(interaction|resume)$/.test(name) && value.length >= 16) canaries.watch(`cookie ${name}`, value)
        return { code, verifier }
      }
      answer = await visit(pathOf(location))
      continue
    }
    const action = /<form[^>]* action="([^"]+)"/.exec(answer.text)?.[1]
    assert(action, `${hop}: ${answer.status} ${answer.text}`)
    const hidden = [...answer.text.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)].map(
      ([, name, value]) => [name!, value!],
    )
    answer = await visit(
      pathOf(action.replaceAll('&amp;', '&')),
      form({ ...Object.fromEntries(hidden), username: 'ada', password: passwords.shift()! }),
    )
  }
  throw new Error('the sign-in leads nowhere')
}
