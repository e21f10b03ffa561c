import assert from 'node:assert/strict'
import { hash, randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { crc32 } from 'node:zlib'
import { createApiKeyAuthenticator } from '../../src/authentication/api-key.ts'
import type { Authentication, Authenticator, CredentialLocation } from '../../src/authentication/authenticator.ts'
import type { KeyRing } from '../../src/authentication/key-ring.ts'
import { createKeyStore, type KeyStore, type NewKey } from '../../src/authentication/key-store.ts'
import { createStaticKeys, staticKey } from '../../src/authentication/static-keys.ts'
import { allow, compileAllow } from '../../src/authorization/allow.ts'
import { createFields } from '../../src/http/fields.ts'
import type { RequestHead } from '../../src/http/request-head.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { connectRedisStore } from '../../src/store/redis.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { type Store, StoreUnavailable } from '../../src/store/store.ts'
import { silent } from '../../src/telemetry/log.ts'
import { questionOf } from '../authorization/question.ts'
import { type RunningRedis, startRedis } from '../redis.ts'
import { skipWithout } from '../requirements.ts'
import { hasShared, skipWithoutShared, vectors } from '../vectors.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-keys-'))
after(() => rmSync(folder, { recursive: true, force: true }))

/** A clock that tests may turn. */
function createClock() {
  let offset = 0
  return {
    now: () => Date.now() + offset,
    forward(milliseconds: number) {
      offset += milliseconds
    },
  }
}

interface Desk {
  readonly keys: KeyStore
  readonly store: Store
  readonly clock: ReturnType<typeof createClock>
  /** Creates a key and returns its text and id. */
  issue(key?: Partial<NewKey>): Promise<{ readonly text: string; readonly id: string }>
  /** What the scheme `apiKey` (X-API-Key, unless said otherwise) makes of a request. */
  ask(request: Asked, location?: CredentialLocation): Promise<Authentication>
}

interface Asked {
  readonly raw?: readonly string[]
  readonly query?: string
  readonly address?: string
}

function headOf({ raw = [], query = '', address = '192.0.2.7' }: Asked): RequestHead {
  return {
    id: 'r-1',
    method: 'GET',
    target: query ? `/?${query}` : '/',
    path: '/',
    query,
    fields: createFields(raw),
    client: { address, protocol: 'https', host: 'api.example', peer: address, viaTrustedProxy: false },
  }
}

const inHeader: CredentialLocation = { in: 'header', name: 'X-API-Key' }

/** A key store over a store of its own, closed when the test ends. */
function openDesk(
  context: TestContext,
  open = (tools: { now: () => number }) => createMemoryStore({ ...tools, log: silent }),
  rings: readonly KeyRing[] = [],
): Desk {
  const clock = createClock()
  const store = open(clock)
  const keys = createKeyStore({}, { store, random: randomBytes, now: clock.now, log: silent })
  context.after(async () => {
    await keys.close()
    await store.close()
  })
  return {
    keys,
    store,
    clock,
    async issue(key = {}) {
      const created = await keys.create({ owner: 'ada', ...key })
      return { text: created.text, id: created.key.id }
    },
    async ask(request, location = inHeader) {
      return authenticatorOf([...rings, keys], clock.now, location).authenticate(headOf(request))
    },
  }
}

function authenticatorOf(
  rings: readonly KeyRing[],
  now: () => number,
  location: CredentialLocation = inHeader,
): Authenticator {
  return createApiKeyAuthenticator({ scheme: 'apiKey', location, rings, now })
}

const withKey = (text: string): Asked => ({ raw: ['Host', 'api.example', 'X-API-Key', text] })

function accepted(authentication: Authentication) {
  assert.equal(authentication.outcome, 'accepted', JSON.stringify(authentication))
  return (authentication as Extract<Authentication, { outcome: 'accepted' }>).caller
}

/** Asserts a refusal and that its answer holds nothing of what was sent. */
function refused(authentication: Authentication, reason: string, sent: string, code = 'invalid-api-key'): void {
  assert.equal(authentication.outcome, 'rejected', JSON.stringify(authentication))
  const { problem, reason: found } = authentication as Extract<Authentication, { outcome: 'rejected' }>
  assert.equal(found, reason)
  assert.equal(problem.code, code)
  assert.equal(problem.status, code === 'invalid-api-key' ? 401 : 400)
  if (sent !== '') assert.ok(!JSON.stringify([problem.body('r-1'), problem.fields, problem.message]).includes(sent))
}

const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

/** The checksum as it is documented: CRC-32 in base 62, six digits. Written anew, so that the format cannot drift. */
function withChecksum(body: string): string {
  let rest = BigInt(crc32(Buffer.from(body)))
  let digits = ''
  for (let index = 0; index < 6; index++) {
    digits = alphabet[Number(rest % 62n)] + digits
    rest /= 62n
  }
  return body + digits
}

const letters = (length: number) => Array.from(randomBytes(length), (byte) => alphabet[byte % 62]).join('')

/** A text with the id of a key, `right` leading letters of its secret and then a wrong one, a good checksum, and no more. */
function nearly(text: string, right: number): string {
  const next = 12 + right
  const wrong = alphabet[(alphabet.indexOf(text[next]!) + 1) % 62]!
  return withChecksum(text.slice(0, next) + wrong + letters(43 - next))
}

describe('the cases of the shared list', () => {
  const cases: Readonly<Record<string, (context: TestContext) => Promise<void>>> = {
    'key-001 right key in header': async (context) => {
      const desk = openDesk(context)
      const { text, id } = await desk.issue({
        owner: 'ada',
        organization: 'acme',
        roles: ['editor'],
        scopes: ['orders'],
      })
      assert.match(text, /^sp_[0-9A-Za-z]{8}_[0-9A-Za-z]{38}$/)
      assert.equal(text, withChecksum(text.slice(0, -6)))
      const caller = accepted(await desk.ask(withKey(text)))
      const { subject, issuer, organization, roles, scopes, method, tokenType, tokenId } = caller
      assert.deepEqual(
        { subject, issuer, organization, roles, scopes, method, tokenType, tokenId },
        {
          subject: 'ada',
          issuer: 'apiKey',
          organization: 'acme',
          roles: ['editor'],
          scopes: ['orders'],
          method: 'api-key',
          tokenType: 'ApiKey',
          tokenId: id,
        },
      )
      assert.ok(Object.isFrozen(caller) && Object.isFrozen(caller.roles))
      assert.ok(!JSON.stringify(caller).includes(text.slice(-10)))
      // One object for every request with the same key.
      const authenticator = authenticatorOf([desk.keys], desk.clock.now)
      const [one, other] = [1, 2].map(() => authenticator.authenticate(headOf(withKey(text))) as Authentication)
      assert.equal(accepted(one!), accepted(other!))
    },
    'key-004 two key headers (good, bad)': async (context) => {
      const desk = openDesk(context)
      const { text } = await desk.issue()
      for (const values of [
        [text, nearly(text, 5)],
        [nearly(text, 5), text],
        [text, text],
      ]) {
        const raw = values.flatMap((value, index) => [index ? 'x-api-key' : 'X-API-Key', value])
        refused(await desk.ask({ raw }), 'several', text, 'ambiguous-credentials')
      }
      refused(await desk.ask(withKey(`${text}, ${nearly(text, 5)}`)), 'malformed', text)
    },
    'key-008 prefix + other secret': async (context) => {
      const desk = openDesk(context)
      const { text } = await desk.issue()
      const other = await desk.issue()
      refused(await desk.ask(withKey(nearly(text, 0))), 'secret', text)
      refused(await desk.ask(withKey(withChecksum(text.slice(0, 12) + other.text.slice(12, 44)))), 'secret', text)
      refused(await desk.ask(withKey(withChecksum(`sp_${letters(8)}_${text.slice(12, 44)}`))), 'unknown', text)
    },
    'key-009 right secret, other prefix': async (context) => {
      const desk = openDesk(context)
      const { text } = await desk.issue()
      for (const prefix of ['st', 'SP', 'spx', 's', '']) {
        refused(await desk.ask(withKey(withChecksum(prefix + text.slice(2, -6)))), 'malformed', text)
      }
    },
    'key-011 trailing space': async (context) => {
      const desk = openDesk(context)
      const { text } = await desk.issue()
      for (const sent of [`${text} `, ` ${text}`, `${text}\t`, `${text}\n`])
        refused(await desk.ask(withKey(sent)), 'malformed', text)
      const inQuery: CredentialLocation = { in: 'query', name: 'api_key' }
      refused(await desk.ask({ query: `api_key=${text}%20` }, inQuery), 'malformed', text)
      refused(await desk.ask({ query: `api_key=${text}+` }, inQuery), 'malformed', text)
    },
    'key-012 url-encoded key': async (context) => {
      const desk = openDesk(context)
      const { text } = await desk.issue()
      refused(await desk.ask(withKey(text.replace('_', '%5F'))), 'malformed', text)
      const inQuery: CredentialLocation = { in: 'query', name: 'api_key' }
      // In a query the encoding is no disguise but how a query is written: once, not twice.
      accepted(await desk.ask({ query: `api%5Fkey=${text.replace('_', '%5f')}` }, inQuery))
      refused(await desk.ask({ query: `api_key=${text.replace('_', '%255F')}` }, inQuery), 'malformed', text)
    },
    'key-013 unicode look-alike': async (context) => {
      const desk = openDesk(context)
      const { text } = await desk.issue()
      for (const sent of [
        text.replace('s', '\u0455'),
        text.replace('_', '\uff3f'),
        `${text.slice(0, -1)}\uff10`,
        `${text}\u200b`,
        text.toUpperCase(),
      ]) {
        refused(await desk.ask(withKey(sent)), 'malformed', text)
      }
    },
    'key-014 NUL suffix': async (context) => {
      const desk = openDesk(context)
      const { text } = await desk.issue()
      refused(await desk.ask(withKey(`${text}\0`)), 'malformed', text)
      refused(await desk.ask({ query: `k=${text}%00` }, { in: 'query', name: 'k' }), 'malformed', text)
    },
    'key-015 empty': async (context) => {
      const desk = openDesk(context)
      refused(await desk.ask(withKey('')), 'malformed', '')
      refused(await desk.ask({ query: 'k=' }, { in: 'query', name: 'k' }), 'malformed', '')
      refused(await desk.ask({ query: 'a=1&k' }, { in: 'query', name: 'k' }), 'malformed', '')
      assert.equal((await desk.ask({})).outcome, 'absent')
    },
    'key-019 expired': async (context) => {
      const desk = openDesk(context)
      const expires = Math.floor(desk.clock.now() / 1000) + 60
      const { text } = await desk.issue({ expires })
      assert.equal(accepted(await desk.ask(withKey(text))).expiresAt, expires)
      desk.clock.forward(61_000)
      refused(await desk.ask(withKey(text)), 'expired', text)
      assert.equal((await desk.keys.list())[0]?.state, 'expired')
    },
    'key-020 not yet valid': async (context) => {
      const desk = openDesk(context)
      const { text } = await desk.issue({ notBefore: Math.floor(desk.clock.now() / 1000) + 60 })
      refused(await desk.ask(withKey(text)), 'not-yet-valid', text)
      assert.equal((await desk.keys.list())[0]?.state, 'not-yet-valid')
      desk.clock.forward(61_000)
      accepted(await desk.ask(withKey(text)))
    },
    'key-022 scope of key smaller than of owner': async (context) => {
      const desk = openDesk(context)
      await desk.issue({ owner: 'ada', scopes: ['orders', 'orders.write'] })
      const narrow = await desk.issue({ owner: 'ada', scopes: ['orders'] })
      const caller = accepted(await desk.ask(withKey(narrow.text)))
      const wide = compileAllow(allow.parse({ scopes: ['orders.write'] })).decide(questionOf({ caller }))
      assert.equal(wide.verdict === 'deny' && wide.code, 'insufficient-scope')
      assert.equal(compileAllow(allow.parse({ scopes: ['orders'] })).decide(questionOf({ caller })).verdict, 'permit')
    },
    'key-023 key id __proto__': async (context) => {
      const desk = openDesk(context)
      await desk.issue()
      for (const id of ['__proto__', 'constructor', "' OR 1=1", '../../..', 'a'.repeat(8_192)]) {
        refused(await desk.ask(withKey(withChecksum(`sp_${id}_${letters(32)}`))), 'malformed', id)
      }
      // Exactly as long as an id, all letters, and on every prototype.
      for (const id of ['toString', 'valueOf0']) {
        refused(await desk.ask(withKey(withChecksum(`sp_${id}_${letters(32)}`))), 'unknown', id)
      }
    },
    'key-027 timing: 0/8/16/31 right leading chars': async (context) => {
      const desk = openDesk(context)
      const { text } = await desk.issue()
      accepted(await desk.ask(withKey(text)))
      // Compared with letters that are as constant and all wrong: a processor learns to read what it has read before.
      const decoy = text.slice(0, 12) + letters(38)
      for (const right of [0, 8, 16, 31]) {
        assert.ok(
          indistinguishable(
            () => nearly(decoy, right),
            () => nearly(text, right),
            (sent) => desk.keys.find(sent),
          ),
          `${right} right letters take another time than ${right} wrong ones`,
        )
      }
    },
    'key-030 key echoed by 401 body': async (context) => {
      const desk = openDesk(context)
      const { text, id } = await desk.issue()
      const sent = [nearly(text, 31), `${text}x`, withChecksum(`sp_${letters(8)}_${letters(32)}`)]
      await desk.keys.revoke(id)
      for (const key of [...sent, text]) {
        for (const [request, location] of [
          [withKey(key), inHeader],
          [{ query: `k=${key}` }, { in: 'query', name: 'k' }],
          [{ raw: ['Cookie', `k=${key}`] }, { in: 'cookie', name: 'k' }],
          [{ raw: ['Authorization', `ApiKey ${key}`] }, { in: 'header', name: 'Authorization' }],
        ] as const) {
          const authentication = await desk.ask(request, location)
          assert.equal(authentication.outcome, 'rejected')
          if (authentication.outcome !== 'rejected') return
          const { problem } = authentication
          const answer = JSON.stringify([
            problem.body('r-1'),
            problem.fields,
            problem.message,
            problem.stack,
            problem.cause,
          ])
          assert.ok(!answer.includes(key.slice(12, 30)), answer)
        }
      }
    },
    'key-031 database dump': async (context) => {
      const path = join(folder, 'dump')
      const desk = openDesk(context, (tools) => openSqliteStore(join(path, 'keys.db'), { ...tools, log: silent }))
      const issued = await Promise.all(
        Array.from({ length: 20 }, (_, index) => desk.issue({ owner: `owner-${index}` })),
      )
      for (const { text } of issued) accepted(await desk.ask(withKey(text)))
      const rotation = await desk.keys.rotate(issued[0]!.id, 60_000)
      assert.equal(rotation.outcome, 'rotated')
      await desk.keys.list()
      await desk.store.close()

      const dump = readdirSync(path)
        .map((name) => readFileSync(join(path, name), 'latin1'))
        .join('')
      const texts = [...issued.map(({ text }) => text), rotation.outcome === 'rotated' ? rotation.text : '']
      for (const text of texts) {
        assert.ok(dump.includes(text.slice(3, 11)), 'the id is there')
        for (let at = 12; at <= text.length - 8; at++) assert.ok(!dump.includes(text.slice(at, at + 8)))
        // Without the pepper nobody can tell from the dump whether a text is a key.
        assert.ok(!dump.includes(hash('sha256', text, 'hex')))
      }
    },
  }

  for (const [title, run] of Object.entries(cases)) test(title, run)

  test('none is left out', { skip: skipWithoutShared }, () => {
    if (!hasShared) return
    const listed = vectors('api-key-cases.json').cases.map(({ id, title }: { id: string; title: string }) => [
      id,
      title,
    ])
    for (const [id, title] of listed)
      assert.ok(
        Object.keys(cases).some((own) => own.startsWith(`${id} ${title.split(':')[0]}`)),
        `${id} ${title}`,
      )
  })
})

/**
 * Whether two kinds of input take the same time, by Welch's t-test on interleaved samples without the slowest tenth
 * (dudect; |t| < 4.5). A busy machine may disturb one series, so a difference has to show three times.
 */
function indistinguishable(one: () => string, other: () => string, subject: (text: string) => unknown): boolean {
  const samples = 8_000
  for (let attempt = 0; attempt < 3; attempt++) {
    // In no order: taking turns would measure the turns.
    const inputs = [...randomBytes(samples)].map((byte) => ({
      kind: (byte % 2) as 0 | 1,
      text: flat(byte % 2 ? one() : other()),
    }))
    const times: [number[], number[]] = [[], []]
    for (const { text } of inputs.slice(0, 1_000)) subject(text)
    for (const { kind, text } of inputs) {
      const start = process.hrtime.bigint()
      subject(text)
      times[kind].push(Number(process.hrtime.bigint() - start))
    }
    const [a, b] = times.map((series) => moments(series.toSorted((x, y) => x - y).slice(0, series.length * 0.9)))
    const t = (a!.mean - b!.mean) / Math.sqrt(a!.variance / a!.count + b!.variance / b!.count)
    if (Math.abs(t) < 4.5) return true
  }
  return false
}

/** A text in one piece: how it was put together must not show in how long it takes to read. */
const flat = (text: string) => Buffer.from(text).toString('latin1')

function moments(series: readonly number[]) {
  const mean = series.reduce((sum, value) => sum + value, 0) / series.length
  const variance = series.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (series.length - 1)
  return { mean, variance, count: series.length }
}

test('the measure of timing finds a comparison that stops at the first difference', () => {
  const secret = `sp_${letters(8)}_${letters(38)}`
  const leaky = (text: string) => {
    let same = 0
    for (let at = 0; at < text.length && text[at] === secret[at]; at++) same += hash('sha256', text[at]!, 'hex').length
    return same
  }
  assert.equal(
    indistinguishable(
      () => nearly(secret, 0),
      () => nearly(secret, 31),
      leaky,
    ),
    false,
  )
})

describe('where a key is sent', () => {
  test('in the Authorization field: under ApiKey, under Bearer when it looks like one, or bare', async (context) => {
    const desk = openDesk(context)
    const { text } = await desk.issue()
    const inAuthorization: CredentialLocation = { in: 'header', name: 'Authorization' }
    const ask = (value: string) => desk.ask({ raw: ['authorization', value] }, inAuthorization)
    for (const value of [`ApiKey ${text}`, `apikey  ${text}`, `Bearer ${text}`, `bearer ${text}`, text])
      accepted(await ask(value))
    refused(await ask(`Bearer ${nearly(text, 5)}`), 'secret', text)
    refused(await ask('ApiKey nonsense'), 'malformed', text)
    // Somebody else's credentials.
    for (const value of ['Bearer eyJhbGciOiJFUzI1NiJ9.e30.AA', 'Basic YTpi'])
      assert.equal((await ask(value)).outcome, 'absent')
    const twice = await desk.ask(
      { raw: ['Authorization', `ApiKey ${text}`, 'Authorization', `ApiKey ${text}`] },
      inAuthorization,
    )
    refused(twice, 'several', text, 'ambiguous-credentials')
  })

  test('in the query: once, whatever the spelling of its name', async (context) => {
    const desk = openDesk(context)
    const { text } = await desk.issue()
    const inQuery: CredentialLocation = { in: 'query', name: 'api_key' }
    accepted(await desk.ask({ query: `a=1&api_key=${text}&b=2` }, inQuery))
    assert.equal((await desk.ask({ query: `API_KEY=${text}` }, inQuery)).outcome, 'absent')
    for (const query of [`api_key=${text}&api_key=${text}`, `api_key=${text}&api%5Fkey=x`, `api_key&api_key=${text}`]) {
      refused(await desk.ask({ query }, inQuery), 'several', text, 'ambiguous-credentials')
    }
    // A key where the scheme does not look for it is no credential.
    assert.equal((await desk.ask({ query: `api_key=${text}` })).outcome, 'absent')
  })

  test('in a cookie, which is not explicit', async (context) => {
    const desk = openDesk(context)
    const { text } = await desk.issue()
    const inCookie: CredentialLocation = { in: 'cookie', name: 'key' }
    accepted(await desk.ask({ raw: ['Cookie', `a=1; key=${text}; b=2`] }, inCookie))
    refused(
      await desk.ask({ raw: ['Cookie', `key=${text}; key=${text}`] }, inCookie),
      'several',
      text,
      'ambiguous-credentials',
    )
    const authenticator = authenticatorOf([desk.keys], desk.clock.now, inCookie)
    assert.equal(authenticator.explicit, false)
    assert.equal(authenticatorOf([desk.keys], desk.clock.now).explicit, true)
  })

  test('is what the challenge of a 401 says (RFC 9110 §15.5.2)', (context) => {
    const { keys, clock } = openDesk(context)
    assert.equal(
      authenticatorOf([keys], clock.now).challenge,
      'ApiKey realm="sallyport", in="header", name="X-API-Key"',
    )
    assert.deepEqual(authenticatorOf([keys], clock.now).location, { in: 'header', name: 'x-api-key' })
  })
})

describe('a key', () => {
  test('is refused from a network it is not for', async (context) => {
    const desk = openDesk(context)
    const { text } = await desk.issue({ cidrs: ['10.0.0.0/8', '2001:db8::/32'] })
    for (const address of ['10.1.2.3', '2001:db8::1']) accepted(await desk.ask({ ...withKey(text), address }))
    for (const address of ['11.1.2.3', '2001:db9::1', '::ffff:11.1.2.3']) {
      refused(await desk.ask({ ...withKey(text), address }), 'address', text)
    }
  })

  test('lives on beside its successor until the overlap is over', async (context) => {
    const desk = openDesk(context)
    const lifetime = 3_600
    const { text, id } = await desk.issue({
      roles: ['editor'],
      cidrs: ['192.0.2.0/24'],
      name: 'nightly',
      expires: Math.floor(desk.clock.now() / 1000) + lifetime,
    })
    desk.clock.forward(600_000)
    const rotation = await desk.keys.rotate(id, 60_000)
    assert.ok(rotation.outcome === 'rotated')
    const successor = accepted(await desk.ask(withKey(rotation.text)))
    assert.deepEqual([successor.subject, successor.roles, successor.name], ['ada', ['editor'], 'nightly'])
    assert.equal(successor.expiresAt, rotation.key.created + lifetime)
    accepted(await desk.ask(withKey(text)))
    desk.clock.forward(61_000)
    refused(await desk.ask(withKey(text)), 'expired', text)
    accepted(await desk.ask(withKey(rotation.text)))

    const old = (await desk.keys.list()).find((key) => key.id === id)
    assert.deepEqual([old?.state, old?.replacedBy], ['expired', rotation.key.id])
    assert.deepEqual(await desk.keys.rotate(id, 0), { outcome: 'refused', reason: 'expired' })
    assert.deepEqual(await desk.keys.rotate('nobody00', 0), { outcome: 'refused', reason: 'unknown' })
  })

  test('does not live longer because it is rotated', async (context) => {
    const desk = openDesk(context)
    const { text, id } = await desk.issue({ expires: Math.floor(desk.clock.now() / 1000) + 10 })
    await desk.keys.rotate(id, 3_600_000)
    desk.clock.forward(11_000)
    refused(await desk.ask(withKey(text)), 'expired', text)
  })

  test('is not used by calls that it does not let in', async (context) => {
    const desk = openDesk(context)
    const { text } = await desk.issue({ owner: 'ada', cidrs: ['10.0.0.0/8'] })
    refused(await desk.ask(withKey(text)), 'address', text)
    assert.equal((await desk.keys.list({ owner: 'ada' }))[0]?.lastUsed, undefined)
  })

  test('is listed without anything that could be used, and with its last use', async (context) => {
    const desk = openDesk(context)
    const { text, id } = await desk.issue({ owner: 'ada' })
    await desk.issue({ owner: 'bob' })
    assert.equal((await desk.keys.list({ owner: 'ada' }))[0]?.lastUsed, undefined)
    accepted(await desk.ask(withKey(text)))
    const [info, ...rest] = await desk.keys.list({ owner: 'ada' })
    assert.equal(rest.length, 0)
    assert.deepEqual([info?.id, info?.state, info?.subject], [id, 'active', 'ada'])
    assert.ok(Math.abs(info!.lastUsed! - desk.clock.now() / 1000) < 2)
    assert.ok(!JSON.stringify(info).includes('hash'))
    assert.equal((await desk.keys.list()).length, 2)
  })

  test('that was revoked tells its holder and nobody else', async (context) => {
    const desk = openDesk(context)
    const { text, id } = await desk.issue()
    accepted(await desk.ask(withKey(text)))
    assert.equal(await desk.keys.revoke(id), true)
    refused(await desk.ask(withKey(text)), 'revoked', text)
    refused(await desk.ask(withKey(nearly(text, 20))), 'secret', text)
    assert.equal(await desk.keys.revoke('nobody00'), false)
    assert.deepEqual(await desk.keys.rotate(id, 0), { outcome: 'refused', reason: 'revoked' })
    // A rotation under way does not bring it back.
    assert.equal((await desk.keys.list())[0]?.state, 'revoked')
  })

  test('is refused when its owner has been', async (context) => {
    const desk = openDesk(context)
    const { text } = await desk.issue({ owner: 'ada' })
    for (const [verdict, expected] of [
      [true, 'rejected'],
      [false, 'accepted'],
      [Promise.resolve(true), 'rejected'],
      [Promise.resolve(false), 'accepted'],
    ] as const) {
      const authenticator = createApiKeyAuthenticator({
        scheme: 'k',
        location: inHeader,
        rings: [desk.keys],
        now: desk.clock.now,
        revoked: ({ subject }) => subject === 'ada' && verdict,
      })
      assert.equal((await authenticator.authenticate(headOf(withKey(text)))).outcome, expected)
    }
  })
})

describe('the store is asked seldom', () => {
  /** Counts the reads of keys that reach the store. */
  function counting(store: Store): { readonly store: Store; reads(): number } {
    let reads = 0
    return {
      reads: () => reads,
      store: {
        ...store,
        get(collection, key) {
          if (collection === 'api-keys') reads++
          return store.get(collection, key)
        },
      },
    }
  }

  test('never for junk, once for a key, once for a hundred calls at once, and again when its memory is old', async (context) => {
    const clock = createClock()
    const counted = counting(createMemoryStore({ now: clock.now, log: silent }))
    const keys = createKeyStore({}, { store: counted.store, random: randomBytes, now: clock.now, log: silent })
    context.after(() => keys.close())
    const { text } = await keys.create({ owner: 'ada' })

    for (const junk of [
      '',
      'x',
      `${text}x`,
      `sp_${letters(8)}_${letters(38)}`,
      text.replace(/.$/, (last) => (last === 'a' ? 'b' : 'a')),
    ]) {
      assert.equal((keys.find(junk) as { outcome: string }).outcome, 'refused')
    }
    assert.equal(counted.reads(), 0)

    const answers = await Promise.all(Array.from({ length: 100 }, () => keys.find(text)))
    assert.ok(answers.every(({ outcome }) => outcome === 'known'))
    assert.equal(counted.reads(), 1)
    for (let call = 0; call < 100; call++) assert.ok(!(keys.find(text) instanceof Promise))
    assert.equal(counted.reads(), 1)

    clock.forward(15_001)
    assert.equal((await keys.find(text)).outcome, 'known')
    assert.equal(counted.reads(), 2)
  })

  test('once for an id that is no key, until one is created', async (context) => {
    const clock = createClock()
    const counted = counting(createMemoryStore({ now: clock.now, log: silent }))
    const fixed = Buffer.alloc(64, 7)
    const keys = createKeyStore(
      {},
      { store: counted.store, random: (size) => fixed.subarray(0, size), now: clock.now, log: silent },
    )
    context.after(() => keys.close())
    const text = withChecksum(`sp_${'7'.repeat(8)}_${'7'.repeat(32)}`)
    for (let call = 0; call < 10; call++)
      assert.deepEqual(await keys.find(text), { outcome: 'refused', reason: 'unknown' })
    assert.equal(counted.reads(), 1)
    assert.equal((await keys.create({ owner: 'ada' })).text, text)
    assert.equal((await keys.find(text)).outcome, 'known')
  })

  test('and what was read before a key was revoked is not believed after', async (context) => {
    const clock = createClock()
    const store = createMemoryStore({ now: clock.now, log: silent })
    const gates: (() => void)[] = []
    // Answers that are on their way until somebody lets them through, the last one first.
    const slow: Store = {
      ...store,
      async get(collection, key) {
        const entry = await store.get(collection, key)
        if (collection === 'api-keys') await new Promise<void>((resolve) => gates.push(resolve))
        return entry as never
      },
    }
    const open = () => {
      for (const gate of gates.splice(0).toReversed()) gate()
    }
    const issuing = createKeyStore({}, { store, random: randomBytes, now: clock.now, log: silent })
    const keys = createKeyStore({}, { store: slow, random: randomBytes, now: clock.now, log: silent })
    context.after(() => Promise.all([issuing.close(), keys.close()]))
    const { text, key } = await issuing.create({ owner: 'ada' })

    const early = keys.find(text)
    await delay(1)
    await issuing.revoke(key.id)
    await delay(1)
    const late = keys.find(text)
    await delay(1)
    open()
    assert.equal((await early).outcome, 'known')
    assert.deepEqual(await late, { outcome: 'refused', reason: 'revoked' })
    assert.deepEqual(await keys.find(text), { outcome: 'refused', reason: 'revoked' })
  })

  test('and a store that is out is 503, not a wrong key; what is remembered goes on', async (context) => {
    const clock = createClock()
    const store = createMemoryStore({ now: clock.now, log: silent })
    let out = false
    const failing: Store = {
      ...store,
      get: (collection, key) => (out ? Promise.reject(new StoreUnavailable('out')) : store.get(collection, key)),
    }
    const keys = createKeyStore({}, { store: failing, random: randomBytes, now: clock.now, log: silent })
    context.after(() => keys.close())
    const [remembered, other] = [await keys.create({ owner: 'ada' }), await keys.create({ owner: 'bob' })]
    const authenticator = authenticatorOf([keys], clock.now)
    accepted(await authenticator.authenticate(headOf(withKey(remembered.text))))
    out = true
    accepted(await authenticator.authenticate(headOf(withKey(remembered.text))))
    const authentication = await authenticator.authenticate(headOf(withKey(other.text)))
    assert.ok(authentication.outcome === 'rejected')
    assert.deepEqual(
      [authentication.problem.code, authentication.problem.fields['Retry-After']],
      ['store-unavailable', '1'],
    )
    out = false
    accepted(await authenticator.authenticate(headOf(withKey(other.text))))
  })

  test('10,000 invented keys leave no more than a bounded memory', async (context) => {
    const desk = openDesk(context)
    const { text } = await desk.issue()
    accepted(await desk.ask(withKey(text)))
    for (let call = 0; call < 10_000; call++) {
      const verdict = await desk.keys.find(withChecksum(`sp_${letters(8)}_${letters(32)}`))
      assert.equal(verdict.outcome, 'refused')
    }
    // They have not pushed out the one that is real.
    assert.ok(!(desk.keys.find(text) instanceof Promise))
  })
})

describe('keys listed in services.json', () => {
  const text = 'demo key of any form'
  const listed = staticKey.parse({
    sha256: hash('sha256', text, 'hex').toUpperCase(),
    subject: 'reporter',
    roles: ['reader'],
    expires: '2026-12-31T23:59:59+01:00',
  })

  test('are accepted beside those of the store, whatever they look like', async (context) => {
    const desk = openDesk(context, undefined, [createStaticKeys([listed])])
    desk.clock.forward(Date.UTC(2026, 5, 1) - Date.now())
    const caller = accepted(await desk.ask(withKey(text)))
    assert.deepEqual(
      [caller.subject, caller.roles, caller.issuer, caller.method],
      ['reporter', ['reader'], 'apiKey', 'api-key'],
    )
    accepted(await desk.ask(withKey((await desk.issue()).text)))
    refused(await desk.ask(withKey('another')), 'malformed', 'another')
    refused(await desk.ask(withKey(hash('sha256', text, 'hex'))), 'malformed', text)
    desk.clock.forward(365 * 86_400_000)
    refused(await desk.ask(withKey(text)), 'expired', text)
  })

  test('are answered without waiting', () => {
    const authenticator = authenticatorOf([createStaticKeys([listed])], () => Date.UTC(2026, 5, 1))
    assert.ok(!(authenticator.authenticate(headOf(withKey(text))) instanceof Promise))
  })

  test('say what is wrong with them', () => {
    for (const [mistake, message] of [
      [{ sha256: text, subject: 'a' }, /sha256sum/],
      [{ sha256: '0'.repeat(64), subject: 'a', expires: 'tomorrow' }, /2027-01-31T00:00:00Z/],
      [{ sha256: '0'.repeat(64), subject: 'a', cidrs: ['10.0.0.0'] }, /such as "10\.0\.0\.0\/8"/],
      [{ sha256: '0'.repeat(64) }, /subject/],
    ] as const) {
      const result = staticKey.safeParse(mistake)
      assert.ok(!result.success)
      assert.match(result.error.issues.map((issue) => `${issue.path.join('/')}: ${issue.message}`).join('\n'), message)
    }
  })
})

describe('every instance', () => {
  let redis: RunningRedis | undefined
  const skip = skipWithout('redis')
  before(async () => {
    if (!skip) redis = await startRedis()
  })
  after(() => redis?.stop())

  for (const [name, open] of [
    ['SQLite', () => openSqliteStore(join(folder, 'shared', 'keys.db'), { now: Date.now, log: silent })],
    ['Redis', () => connectRedisStore(redis!.url, 'keys:', { now: Date.now, log: silent })],
  ] as const) {
    test(`refuses a revoked key within a second and knows a new one at once, over ${name}`, {
      skip: name === 'Redis' && skip,
    }, async (context) => {
      const instances = [0, 1].map(() => {
        const store = open()
        const keys = createKeyStore({}, { store, random: randomBytes, now: Date.now, log: silent })
        context.after(async () => {
          await keys.close()
          await store.close()
        })
        return { store, keys }
      })
      const [one, other] = instances as [(typeof instances)[0], (typeof instances)[0]]
      await one.store.ping()
      await other.store.ping()
      // Both make a pepper at the same time, and use the same.
      const created = await Promise.all([one.keys.create({ owner: 'ada' }), other.keys.create({ owner: 'bob' })])
      for (const { text } of created) {
        for (const { keys } of instances) assert.equal((await keys.find(text)).outcome, 'known')
      }

      const { text, key } = created[0]
      assert.equal(await one.keys.revoke(key.id), true)
      const start = performance.now()
      assert.deepEqual(await one.keys.find(text), { outcome: 'refused', reason: 'revoked' })
      for (;;) {
        const verdict = await other.keys.find(text)
        if (verdict.outcome === 'refused') break
        assert.ok(performance.now() - start < 1_000, 'still accepted after a second')
        await delay(10)
      }
    })
  }
})
