import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { afterEach, describe, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { FetchFailed, fetchJson } from '../../src/authentication/fetch-json.ts'
import type { KeyLookup } from '../../src/authentication/key-set.ts'
import { type RemoteKeySetSettings, remoteKeySet } from '../../src/authentication/remote-key-set.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { silent } from '../../src/telemetry/log.ts'
import { json, newKey, serve, type TestServer, testClock } from './minting.ts'

const first = newKey('RS256', 'key-1').jwk
const second = newKey('ES256', 'key-2').jwk

const running: TestServer[] = []
const started = async (...parameters: Parameters<typeof serve>) => {
  const server = await serve(...parameters)
  running.push(server)
  return server
}
afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.close()))
})

function keySetAt(server: TestServer, changes: Partial<RemoteKeySetSettings> = {}) {
  const clock = testClock()
  const keys = remoteKeySet({
    name: 'issuer',
    issuer: 'https://issuer.test',
    locate: () => `${server.url}/jwks`,
    algorithms: ['RS256', 'ES256'],
    fetchJson,
    now: clock.now,
    random: () => 0.5,
    log: silent,
    ...changes,
  })
  return { keys, clock }
}

const outcome = async (lookup: KeyLookup | Promise<KeyLookup>) => (await lookup).outcome
/** Until what was started in the background has come to an end. */
const settled = async (server: TestServer, hits: number) => {
  for (let waited = 0; server.hits.length < hits && waited < 2_000; waited += 5) await pause(5)
  await pause(20)
}
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))

describe('the keys of an issuer elsewhere', () => {
  test('are fetched once for 1,000 callers who come at the same moment', async () => {
    const server = await started(json({ keys: [first] }))
    const { keys } = keySetAt(server)
    const outcomes = await Promise.all(Array.from({ length: 1_000 }, () => outcome(keys.find('key-1', 'RS256'))))
    assert.deepEqual(new Set(outcomes), new Set(['found']))
    assert.equal(server.hits.length, 1)
    assert.ok(!(keys.find('key-1', 'RS256') instanceof Promise), 'a key in memory is found at once')
  })

  test('are found by kid and algorithm together', async () => {
    const server = await started(json({ keys: [first, second] }))
    const { keys } = keySetAt(server)
    assert.equal(await outcome(keys.find('key-2', 'ES256')), 'found')
    assert.equal(await outcome(keys.find('key-2', 'RS256')), 'unknown')
    assert.equal(server.hits.length, 1, 'asking again would not change the algorithm of a key')
  })

  test('may rotate: the first token with a new key fetches it, at once and without a refusal', async () => {
    const server = await started(json({ keys: [first] }))
    const { keys, clock } = keySetAt(server)
    await keys.find('key-1', 'RS256')
    server.answer = json({ keys: [first, second] })
    clock.advance(1)
    const outcomes = await Promise.all(Array.from({ length: 100 }, () => outcome(keys.find('key-2', 'ES256'))))
    assert.deepEqual(new Set(outcomes), new Set(['found']))
    assert.equal(server.hits.length, 2)
  })

  test('are fetched at most once in 30 seconds for 60,000 unknown kids, and known keys notice nothing', async () => {
    const server = await started(json({ keys: [first] }))
    let unknown = 0
    const { keys, clock } = keySetAt(server, { events: { unknownKey: () => (unknown += 1) } })
    await keys.find('key-1', 'RS256')
    for (let second = 0; second < 60; second += 1) {
      const flood = Array.from({ length: 1_000 }, () => outcome(keys.find(randomBytes(12).toString('hex'), 'RS256')))
      const known = keys.find('key-1', 'RS256')
      assert.ok(!(known instanceof Promise) && known.outcome === 'found')
      assert.deepEqual(new Set(await Promise.all(flood)), new Set(['unknown']))
      clock.advance(1)
    }
    assert.equal(server.hits.length, 1 + 2)
    assert.equal(unknown, 60_000)
  })

  test('are renewed in the background between half and all of their age, while answers come from memory', async () => {
    const server = await started(json({ keys: [first] }))
    const { keys, clock } = keySetAt(server)
    await keys.find('key-1', 'RS256')
    clock.advance(449)
    keys.find('key-1', 'RS256')
    await settled(server, 1)
    assert.equal(server.hits.length, 1)
    clock.advance(2)
    for (let asked = 0; asked < 10; asked += 1) {
      const lookup = keys.find('key-1', 'RS256')
      assert.ok(!(lookup instanceof Promise) && lookup.outcome === 'found')
    }
    await settled(server, 2)
    assert.equal(server.hits.length, 2)
  })

  test('are renewed by remembered tokens as well, and keep their objects', async () => {
    const server = await started(json({ keys: [first] }))
    const { keys, clock } = keySetAt(server)
    const lookup = await keys.find('key-1', 'RS256')
    assert.equal(lookup.outcome, 'found')
    if (lookup.outcome !== 'found') return
    assert.ok(keys.holds(lookup.key))
    clock.advance(500)
    assert.ok(keys.holds(lookup.key))
    await settled(server, 2)
    assert.equal(server.hits.length, 2)
    assert.ok(keys.holds(lookup.key))
  })

  test('that are withdrawn are refused within 10 minutes, even if nobody asked in between', async () => {
    const server = await started(json({ keys: [first, second] }))
    const { keys, clock } = keySetAt(server)
    const lookup = await keys.find('key-2', 'ES256')
    assert.ok(lookup.outcome === 'found')
    server.answer = json({ keys: [first] })
    clock.advance(601)
    assert.equal(keys.holds(lookup.key), false)
    assert.equal(await outcome(keys.find('key-2', 'ES256')), 'unknown')
    assert.equal(await outcome(keys.find('key-1', 'RS256')), 'found')
  })

  test('that are withdrawn are refused at once when the operator says so', async () => {
    const server = await started(json({ keys: [first, second] }))
    const { keys } = keySetAt(server)
    const lookup = await keys.find('key-2', 'ES256')
    assert.ok(lookup.outcome === 'found')
    server.answer = json({ keys: [first] })
    await keys.refresh()
    assert.equal(keys.holds(lookup.key), false)
  })
})

describe('while an issuer is away', () => {
  const away: Parameters<typeof serve>[0] = (_request, response) => {
    response.statusCode = 500
    response.end()
  }

  test('its known keys go on for 24 hours and more, with one attempt in 30 seconds', async () => {
    const server = await started(json({ keys: [first] }))
    const { keys, clock } = keySetAt(server)
    const lookup = await keys.find('key-1', 'RS256')
    assert.ok(lookup.outcome === 'found')
    server.answer = away
    let late = 0
    for (let hour = 0; hour < 24; hour += 1) {
      clock.advance(3_600)
      const found = keys.find('key-1', 'RS256')
      if (found instanceof Promise) late += 1
      assert.equal(await outcome(found), 'found')
      assert.ok(keys.holds(lookup.key))
      const hits = server.hits.length
      for (let second = 0; second < 29; second += 1) {
        clock.advance(1)
        keys.find('key-1', 'RS256')
      }
      await settled(server, hits)
      clock.advance(-29)
      assert.ok(server.hits.length <= hits + 1)
    }
    assert.equal(late, 1, 'only the first caller after the set grew old waits for the issuer')
  })

  test('its known keys end after 72 hours, with 503 and not with 401', async () => {
    const server = await started(json({ keys: [first] }))
    const { keys, clock } = keySetAt(server)
    await keys.find('key-1', 'RS256')
    server.answer = away
    clock.advance(71 * 3_600)
    assert.equal(await outcome(keys.find('key-1', 'RS256')), 'found')
    clock.advance(2 * 3_600)
    assert.equal(await outcome(keys.find('key-1', 'RS256')), 'unavailable')
  })

  test('a key that nobody knows is nobody’s fault: 503 until the issuer can be asked', async () => {
    const server = await started(json({ keys: [first] }))
    const { keys, clock } = keySetAt(server)
    await keys.find('key-1', 'RS256')
    server.answer = away
    const hits = server.hits.length
    const lookups = await Promise.all(
      Array.from({ length: 1_000 }, () => keys.find(randomBytes(9).toString('hex'), 'RS256')),
    )
    assert.deepEqual(new Set(lookups.map((lookup) => lookup.outcome)), new Set(['unavailable']))
    assert.equal(server.hits.length, hits + 1)
    assert.equal(await outcome(keys.find('key-1', 'RS256')), 'found')
    server.answer = json({ keys: [first, second] })
    clock.advance(31)
    assert.equal(await outcome(keys.find('key-2', 'ES256')), 'found')
  })

  test('a cold start answers 503 with Retry-After, asks again after 1, 2, 4 ... seconds, and recovers', async () => {
    const server = await started(away)
    const { keys, clock } = keySetAt(server)
    const cold = await Promise.all(Array.from({ length: 1_000 }, () => keys.find('key-1', 'RS256')))
    assert.equal(server.hits.length, 1)
    for (const lookup of cold) {
      assert.ok(lookup.outcome === 'unavailable')
      assert.equal(lookup.problem.code, 'issuer-unavailable')
      assert.equal(lookup.problem.status, 503)
      assert.equal(lookup.problem.fields['Retry-After'], '1')
      assert.doesNotMatch(JSON.stringify(lookup.problem.body('id')), /127\.0\.0\.1/)
    }
    const attempts: number[] = []
    for (let second = 1; second <= 120; second += 1) {
      clock.advance(1)
      const hits = server.hits.length
      await keys.find('key-1', 'RS256')
      if (server.hits.length > hits) attempts.push(second)
    }
    assert.deepEqual(attempts, [1, 3, 7, 15, 31, 61, 91])
    server.answer = json({ keys: [first] })
    clock.advance(30)
    assert.equal(await outcome(keys.find('key-1', 'RS256')), 'found')
  })

  test('a cold start uses the last good set of the store, by the rules for fresh ones', async () => {
    const store = createMemoryStore({ now: testClock().now, log: silent })
    const server = await started(json({ keys: [first, second] }))
    await keySetAt(server, { store }).keys.find('key-1', 'RS256')
    server.answer = away
    const { keys } = keySetAt(server, { store })
    assert.equal(await outcome(keys.find('key-1', 'RS256')), 'found')
    assert.equal(await outcome(keys.find('key-2', 'ES256')), 'found')
    // A set that was stored under laxer settings is read under these.
    const strict = keySetAt(server, { store, algorithms: ['RS256'] }).keys
    assert.equal(await outcome(strict.find('key-1', 'RS256')), 'found')
    assert.equal(await outcome(strict.find('key-2', 'ES256')), 'unavailable')
    await store.close()
  })

  test('a stored set that is too old is not used', async () => {
    const clock = testClock()
    const store = createMemoryStore({ now: clock.now, log: silent })
    const server = await started(json({ keys: [first] }))
    await keySetAt(server, { store, now: clock.now }).keys.find('key-1', 'RS256')
    server.answer = away
    clock.advance(73 * 3_600)
    const { keys } = keySetAt(server, { store, now: clock.now })
    assert.equal(await outcome(keys.find('key-1', 'RS256')), 'unavailable')
    await store.close()
  })

  test('a store that fails changes nothing', async () => {
    const store = createMemoryStore({ now: testClock().now, log: silent })
    store.put = () => Promise.reject(new Error('no store today'))
    store.get = () => Promise.reject(new Error('no store today'))
    const server = await started(json({ keys: [first] }))
    assert.equal(await outcome(keySetAt(server, { store }).keys.find('key-1', 'RS256')), 'found')
    server.answer = away
    assert.equal(await outcome(keySetAt(server, { store }).keys.find('key-1', 'RS256')), 'unavailable')
    await store.close()
  })

  test('metrics hear of every attempt and of how old the set in use is', async () => {
    const server = await started(json({ keys: [first] }))
    const heard: unknown[] = []
    const { keys, clock } = keySetAt(server, {
      events: { fetched: ({ outcome, confirmedAt }) => heard.push([outcome, confirmedAt]) },
    })
    const start = clock.now()
    await keys.find('key-1', 'RS256')
    server.answer = away
    clock.advance(700)
    await keys.find('key-1', 'RS256')
    assert.deepEqual(heard, [
      ['renewed', start],
      ['failed', start],
    ])
  })

  test('a clock that is set back makes no key last longer: the issuer is asked again', async () => {
    const server = await started(json({ keys: [first] }))
    const { keys, clock } = keySetAt(server)
    await keys.find('key-1', 'RS256')
    clock.advance(-3_600)
    assert.equal(await outcome(keys.find('key-1', 'RS256')), 'found')
    assert.equal(server.hits.length, 2)
  })
})

describe('an answer that is no key set leaves the old one in place', () => {
  const faults: Record<string, Parameters<typeof serve>[0]> = {
    'status 404': (_request, response) => {
      response.statusCode = 404
      json({ keys: [second] })(_request, response)
    },
    'a redirect': (request, response) => {
      if (request.url === '/elsewhere') return json({ keys: [second] })(request, response)
      response.statusCode = 302
      response.setHeader('location', '/elsewhere')
      response.end()
    },
    'a page': (_request, response) => {
      response.setHeader('content-type', 'text/html')
      response.end(JSON.stringify({ keys: [second] }))
    },
    'no media type': (_request, response) => response.end(JSON.stringify({ keys: [second] })),
    'half of it': (_request, response) => {
      response.setHeader('content-type', 'application/json')
      response.end('{"keys":[')
    },
    'bytes that are not UTF-8': (_request, response) => {
      response.setHeader('content-type', 'application/json')
      response.end(Buffer.concat([Buffer.from('{"keys":["'), Buffer.from([0xff]), Buffer.from('"]}')]))
    },
    'more than 1 MiB': (_request, response) => {
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ keys: [second], filler: 'x'.repeat(1_048_576) }))
    },
    compressed: (_request, response) => {
      response.setHeader('content-type', 'application/json')
      response.setHeader('content-encoding', 'gzip')
      response.end(gzipSync(JSON.stringify({ keys: [second] })))
    },
    'a connection that breaks': (_request, response) => {
      response.setHeader('content-type', 'application/json')
      response.setHeader('content-length', '1000')
      response.write('{"keys":')
      setTimeout(() => response.destroy(), 10)
    },
    'keys: null': json({ keys: null }),
    'no keys': json({ keys: [] }),
    'only keys nobody may use': json({ keys: [{ kty: 'oct', k: 'AAAA' }] }),
    '10,000 keys': json({ keys: Array.from({ length: 10_000 }, () => ({ kty: 'RSA' })) }),
  }
  for (const [title, answer] of Object.entries(faults)) {
    test(title, async () => {
      const server = await started(json({ keys: [first] }))
      const { keys } = keySetAt(server)
      await keys.find('key-1', 'RS256')
      server.answer = answer
      await keys.refresh()
      assert.equal(server.hits.length, 2)
      assert.equal(await outcome(keys.find('key-1', 'RS256')), 'found')
      assert.equal(await outcome(keys.find('key-2', 'ES256')), 'unavailable')
    })
  }

  test('an issuer that never answers, or one byte at a time, is given up after the time limit', async () => {
    const drops: NodeJS.Timeout[] = []
    const server = await started((request, response) => {
      if (request.url === '/silent') return
      response.setHeader('content-type', 'application/json')
      response.write('{')
      drops.push(setInterval(() => response.write(' '), 20))
    })
    for (const path of ['/silent', '/drip']) {
      const since = performance.now()
      await assert.rejects(fetchJson({ url: server.url + path, timeout: 300 }), FetchFailed)
      const took = performance.now() - since
      assert.ok(took >= 250 && took < 1_500, `${path} took ${took} ms`)
    }
    for (const drop of drops) clearInterval(drop)
  })

  test('an endless answer is cut off at 1 MiB, not stored first', async () => {
    let written = 0
    const server = await started((_request, response) => {
      response.setHeader('content-type', 'application/json')
      const more = () => {
        while (!response.destroyed && written < 200_000_000) {
          written += 65_536
          if (!response.write(Buffer.alloc(65_536, 0x20))) {
            response.once('drain', more)
            return
          }
        }
      }
      more()
    })
    await assert.rejects(fetchJson({ url: server.url }), /longer than 1048576 bytes/)
    assert.ok(written < 20_000_000, `${written} bytes were taken`)
  })
})
