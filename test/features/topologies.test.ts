import assert from 'node:assert/strict'
import { createHash, createHmac, randomBytes } from 'node:crypto'
import { createServer } from 'node:net'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import { type Agent, request } from 'undici'
import { type Backend, startBackend } from '../backend.ts'
import { type GatewayUnderTest, startGateway } from '../sallyport.ts'

/**
 * However services, their security and their modes are combined, and whatever clients send: no token ever reaches a
 * service that it was not meant for. Every secret is tagged, so that each byte a service gets can be judged.
 */

const names = ['one', 'two', 'three', 'four'] as const
type Name = (typeof names)[number]
const callers = ['ada', 'grace'] as const
type Caller = (typeof callers)[number]

const secret = 'a secret of thirty-two bytes and more, for tests'
const clientSecret = `client-secret-${randomBytes(8).toString('hex')}`
const staticFor = Object.fromEntries(names.map((name) => [name, `static-${name}-${randomBytes(8).toString('hex')}`]))
const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')

/** Where each scheme looks. What comes in the query or in a cookie is for the gateway alone. */
const places = {
  bearer: 'header',
  easyAuth: 'header',
  apiKey: 'header',
  queryKey: 'query',
  cookieKey: 'cookie',
} as const
type Scheme = keyof typeof places
const schemes = Object.keys(places) as Scheme[]

const keyOf = (scheme: Scheme, caller: Caller) =>
  `${scheme}-of-${caller}-${sha256(secret + scheme + caller).slice(0, 16)}`
const keysOf = (scheme: Scheme) => callers.map((subject) => ({ sha256: sha256(keyOf(scheme, subject)), subject }))
const securitySchemes = {
  bearer: { type: 'http', scheme: 'bearer' },
  easyAuth: { type: 'apiKey', in: 'header', name: 'X-MS-TOKEN-AAD-ID-TOKEN', issuers: ['old'] },
  apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', keys: keysOf('apiKey') },
  queryKey: { type: 'apiKey', in: 'query', name: 'api_key', keys: keysOf('queryKey') },
  cookieKey: { type: 'apiKey', in: 'cookie', name: 'key', keys: keysOf('cookieKey') },
}

function jwt(sub: string, good: boolean): string {
  const now = Math.floor(Date.now() / 1_000)
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
  const payload = {
    iss: 'https://old.example',
    aud: 'api',
    sub,
    iat: now,
    exp: now + 300,
    jti: randomBytes(8).toString('hex'),
  }
  const content = `${encode({ alg: 'HS256', typ: 'at+jwt' })}.${encode(payload)}`
  return `${content}.${createHmac('sha256', good ? secret : `not ${secret}`)
    .update(content)
    .digest('base64url')}`
}

/* What varies */

const modes = ['passthrough', 'none', 'gateway-jwt', 'static', 'exchange', 'client-credentials'] as const
type Mode = (typeof modes)[number]

const alternative = fc.subarray(schemes, { maxLength: 2 })
const service = fc.record({
  mode: fc.constantFrom(...modes),
  // No alternative at all is a public service, an empty one lets guests in.
  security: fc.array(alternative, { maxLength: 3 }),
  /** The first target refuses every connection, so the request goes to the second. */
  retried: fc.boolean(),
})
const call = fc.record({
  to: fc.nat({ max: 3 }),
  caller: fc.constantFrom(...callers),
  sent: fc.dictionary(fc.constantFrom(...schemes), fc.constantFrom(true, true, true, false), { maxKeys: 4 }),
})
const topology = fc.record({
  services: fc.array(service, { minLength: 2, maxLength: 4 }),
  /** Answers with a redirect to the address of the next service. */
  redirecting: fc.nat({ max: 3 }),
  calls: fc.array(call, { minLength: 4, maxLength: 10 }),
})

interface Service {
  readonly mode: Mode
  readonly security: readonly (readonly Scheme[])[]
  readonly retried: boolean
}

/** A secret that a client sent in one request. */
interface Sent {
  readonly scheme: Scheme
  readonly good: boolean
  readonly text: string
}

/* The ground */

const backends = new Map<Name, Backend>()
let tokens: Backend
let gateway: GatewayUnderTest
let closedPort: number
let redirecting: Name | undefined
/** Every secret that clients ever sent, and whose it is. */
const everSent = new Map<string, Caller>()
const seen = new Map<string, number>()
const count = (what: string) => seen.set(what, (seen.get(what) ?? 0) + 1)

before(async () => {
  for (const name of names) {
    const backend = await startBackend((req, res) => {
      const { method = '', url = '', rawHeaders: raw, headers } = req
      backend.received.push({ method, url, raw, headers, body: '' })
      const next = names[(names.indexOf(name) + 1) % names.length]!
      if (name === redirecting) res.writeHead(307, { Location: `${backends.get(next)!.url}/redirected` }).end()
      else res.end('{}')
    })
    backends.set(name, backend)
  }
  // An authorization server that says in each token for whom it is and of what it was made.
  tokens = await startBackend((req, res) => {
    let text = ''
    req.on('data', (chunk) => (text += chunk))
    req.on('end', () => {
      const form = new URLSearchParams(text)
      tokens.received.push({ method: 'POST', url: '', raw: req.rawHeaders, headers: req.headers, body: text })
      const of = form.get('subject_token')
      const access_token = `issued-${form.get('audience')}-${of === null ? 'machine' : sha256(of)}`
      res.setHeader('Content-Type', 'application/json')
      res.end(JSON.stringify({ access_token, token_type: 'Bearer', expires_in: 300 }))
    })
  })
  const gone = createServer().listen(0, '127.0.0.1')
  await new Promise((resolve) => gone.once('listening', resolve))
  closedPort = (gone.address() as { port: number }).port
  await new Promise((resolve) => gone.close(resolve))
  gateway = await startGateway(definitionOf([{ mode: 'none', security: [], retried: false }]))
})
after(async () => {
  await gateway?.[Symbol.asyncDispose]()
  for (const backend of [...backends.values(), tokens]) await backend[Symbol.asyncDispose]()
})

function definitionOf(services: readonly Service[]): object {
  return {
    issuers: { old: { type: 'secret', issuer: 'https://old.example', audience: 'api', secret } },
    securitySchemes,
    services: services.map(({ mode, security, retried }, index) => {
      const name = names[index]!
      const { url } = backends.get(name)!
      return {
        name,
        path: `/${name}`,
        targets: retried ? [`http://127.0.0.1:${closedPort}`, url] : [url],
        balance: 'round-robin',
        openapi: false,
        security: security.map((alternative) => Object.fromEntries(alternative.map((scheme) => [scheme, []]))),
        forward: { credentials: credentialsOf(mode, name) },
      }
    }),
  }
}

function credentialsOf(mode: Mode, name: Name): unknown {
  if (mode === 'static') return { type: mode, value: `Bearer ${staticFor[name]}` }
  if (mode === 'exchange' || mode === 'client-credentials')
    return { type: mode, tokenEndpoint: tokens.url, clientId: 'gateway', clientSecret }
  return mode
}

/* The calls */

async function send(name: Name, caller: Caller, sent: readonly Sent[]): Promise<number> {
  const headers: Record<string, string> = { 'X-Test-Caller': caller }
  let query = ''
  for (const { scheme, text } of sent) {
    everSent.set(text, caller)
    if (scheme === 'bearer') headers['Authorization'] = `Bearer ${text}`
    else if (scheme === 'queryKey') query = `?api_key=${text}`
    else if (scheme === 'cookieKey') headers['Cookie'] = `key=${text}`
    else headers[securitySchemes[scheme].name] = text
  }
  const { statusCode, body } = await request(`${gateway.url}/${name}/for-${name}${query}`, {
    headers,
    maxRedirections: 0,
  } as {
    headers: Record<string, string>
    dispatcher?: Agent
  })
  await body.dump()
  return statusCode
}

/* The judgement */

/** The secrets of the client that a service may see. */
function meantFor({ mode, security }: Service, sent: readonly Sent[]): ReadonlySet<string> {
  if (mode !== 'passthrough') return new Set()
  // Nothing is checked on the way to a public service, and nothing taken away.
  if (security.length === 0) return new Set(sent.map(({ text }) => text))
  const asked = new Set(security.flat())
  const kept = sent.filter(({ scheme, good }) => good && asked.has(scheme) && places[scheme] === 'header')
  return new Set(kept.map(({ text }) => text))
}

function judge(name: Name, service: Service, sentBy: ReadonlyMap<Caller, readonly (readonly Sent[])[]>): void {
  for (const { url, raw, headers } of backends.get(name)!.received) {
    const all = [url, ...raw].join('\n')
    const caller = headers['x-test-caller'] as Caller
    assert(url.startsWith(`/for-${name}`), `${name} got a request that was for another service: ${url}`)
    const calls = sentBy.get(caller) ?? []
    const meant = new Set(calls.flatMap((sent) => [...meantFor(service, sent)]))
    for (const [text, owner] of everSent) {
      if (!all.includes(text)) continue
      assert(owner === caller, `${name} got a secret of ${owner} in a request of ${caller}: ${text}`)
      assert(meant.has(text), `${name} (${service.mode}, ${JSON.stringify(service.security)}) got ${text}`)
      count('passed through')
    }
    assert(!all.includes(clientSecret), `${name} got the gateway's own secret`)
    for (const [other, text] of Object.entries(staticFor)) {
      if (!all.includes(text)) continue
      assert(other === name && service.mode === 'static', `${name} (${service.mode}) got the credential of ${other}`)
      count('static')
    }
    for (const [, audience, of] of all.matchAll(/issued-([a-z]+)-([a-z0-9]+)/g)) {
      assert.equal(audience, name, `${name} got a token that was issued for ${audience}`)
      if (of === 'machine') assert.equal(service.mode, 'client-credentials')
      else {
        assert.equal(service.mode, 'exchange')
        const own = calls.flat().filter(({ good, text }) => good && sha256(text) === of)
        assert(own.length > 0, `${name} got a token that was made of another caller's`)
      }
      count(of === 'machine' ? 'client-credentials' : 'exchanged')
    }
    for (const [token] of all.matchAll(/eyJ[\w-]+\.[\w-]+\.[\w-]+/g)) {
      const claims = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString())
      if (claims.iss === 'https://old.example') continue
      assert.equal(service.mode, 'gateway-jwt')
      assert.equal(claims.aud, name, `${name} got a token that the gateway made for ${claims.aud}`)
      assert([caller, 'anonymous'].includes(claims.sub), `${name} got a token of ${claims.sub} for ${caller}`)
      count('minted')
    }
    if (service.retried) count('sent again')
    if (name === redirecting) count('redirected')
  }
}

/** The authorization server sees the tokens that it exchanges, and no other credential of a caller. */
function judgeAuthorizationServer(
  services: readonly Service[],
  sentBy: ReadonlyMap<Caller, readonly (readonly Sent[])[]>,
): void {
  const exchanging = services.flatMap(({ mode, security }) => (mode === 'exchange' ? security.flat() : []))
  const good = [...sentBy.values()].flat(2).filter((sent) => sent.good && exchanging.includes(sent.scheme))
  const meant = new Set(
    good.filter(({ scheme }) => scheme === 'bearer' || scheme === 'easyAuth').map(({ text }) => text),
  )
  for (const { raw, body } of tokens.received) {
    const all = [...raw, decodeURIComponent(body)].join('\n')
    for (const text of everSent.keys()) assert(!all.includes(text) || meant.has(text), `the token endpoint got ${text}`)
    for (const text of Object.values(staticFor)) assert(!all.includes(text), `the token endpoint got ${text}`)
  }
}

test('no token reaches a service that it was not meant for', async () => {
  await fc.assert(
    fc.asyncProperty(topology, async ({ services, redirecting: at, calls }) => {
      for (const backend of [...backends.values(), tokens]) backend.received.length = 0
      everSent.clear()
      redirecting = names[at % services.length]
      await gateway.rewrite(definitionOf(services))
      assert(await gateway.running.reload(), JSON.stringify(gateway.log.at(-1)))

      const sentBy = new Map<Caller, (readonly Sent[])[]>()
      const prepared = calls.map(({ to, caller, sent }) => {
        const secrets = (Object.entries(sent) as [Scheme, boolean][]).map(([scheme, good]): Sent => {
          const byToken = scheme === 'bearer' || scheme === 'easyAuth'
          const text = byToken
            ? jwt(caller, good)
            : good
              ? keyOf(scheme, caller)
              : `bad-${scheme}-${caller}-${randomBytes(8).toString('hex')}`
          return { scheme, good, text }
        })
        sentBy.set(caller, [...(sentBy.get(caller) ?? []), secrets])
        return { name: names[to % services.length]!, caller, secrets }
      })
      // All at once, so that callers share connections and wait for the same tokens.
      const statuses = await Promise.all(prepared.map(({ name, caller, secrets }) => send(name, caller, secrets)))
      for (const status of statuses) {
        assert([200, 307, 401].includes(status), `answered ${status}`)
        count(`status ${status}`)
      }
      for (const [index, service] of services.entries()) judge(names[index]!, service, sentBy)
      for (const name of names.slice(services.length)) assert.equal(backends.get(name)!.received.length, 0)
      judgeAuthorizationServer(services, sentBy)
    }),
    { numRuns: 60, endOnFailure: true },
  )
  // The property would hold for a gateway that forwards nothing.
  for (const what of [
    'passed through',
    'static',
    'client-credentials',
    'exchanged',
    'minted',
    'sent again',
    'redirected',
    'status 200',
    'status 307',
    'status 401',
  ])
    assert((seen.get(what) ?? 0) > 0, `never happened: ${what}; ${JSON.stringify([...seen])}`)
})
