import assert from 'node:assert/strict'
import { Agent } from 'node:http'
import { describe, test } from 'node:test'
import { createFields } from '../../src/http/fields.ts'
import { canonicalTarget } from '../../src/http/path.ts'
import { Problem } from '../../src/http/problem.ts'
import { foldName } from '../../src/http/reserved-fields.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'
import { positions, sendAlias } from './aliases.ts'
import { guestFields, type Received, startBackend, startFront } from './front.ts'
import { exchange, until } from './raw.ts'
import { faults, type Observation, type RequestCase, wanted } from './verdicts.ts'

/** Every attack of the shared vectors against a real front with a real backend behind it, each case with a pair of its own. */

/** Sends the bytes to a front of their own. `expected` requests are waited for, then whatever should not come. */
async function observe(bytes: Buffer, expected: number): Promise<Observation> {
  const backend = await startBackend()
  const front = await startFront(backend.port)
  try {
    const final = (statuses: readonly number[]) =>
      statuses.filter((status) => status >= 200).length >= Math.max(expected, 1)
    const { statuses, closed } = await exchange(front.port, bytes, final, 150)
    if (expected > 0) await until(() => backend.received.length >= expected)
    return { statuses, closed, received: backend.received }
  } finally {
    front.close()
    backend.close()
  }
}

/** Values of a name in any spelling. */
function valuesOf({ raw }: Received, folded: string): string[] {
  return raw.filter((_, index) => index % 2 === 1 && foldName(raw[index - 1]!) === folded)
}

test('every raw request of the shared vectors ends as it must', { skip: skipWithoutShared }, async (t) => {
  const { cases } = vectors('http-requests.json') as { cases: RequestCase[] }
  assert.equal(cases.length, 100)
  const observed = await Promise.all(
    cases.map(async (vector) => {
      const bytes = Buffer.from(vector.bytes_b64, 'base64')
      const expected = vector.verdict === 'one' || vector.verdict === 'two' ? wanted[vector.verdict] : 0
      return { vector, bytes, observation: await observe(bytes, expected) }
    }),
  )
  for (const { vector, bytes, observation } of observed) {
    await t.test(`${vector.id}: ${vector.title}`, () => {
      const { received, statuses, closed } = observation
      assert.deepEqual(faults(vector.verdict, observation), [])
      assert.ok(statuses.length > 0 || closed, 'it was answered or the connection closed')
      for (const one of received) {
        assert.ok(!one.raw.includes('admin'), 'no value that a client made up')
        assert.deepEqual(valuesOf(one, 'user-id'), ['anonymous'])
        assert.equal(valuesOf(one, 'x-forwarded-for').length, 1)
      }
      const first = received[0]
      if (first && vector.cls !== 'pipelining') {
        // What was decided about is what was sent.
        const target = canonicalTarget(bytes.toString('latin1').split(' ')[1]!, 'gw.test')
        assert.ok(!(target instanceof Problem))
        assert.equal(first.url, target.query === '' ? target.path : `${target.path}?${target.query}`)
      }
      if (first && vector.id === 'h1-conn-cl') assert.equal(first.body, 'abc', 'framing cannot be nominated away')
    })
  }
})

describe('the fixtures of Node’s own parser', { skip: skipWithoutShared }, () => {
  interface Fixture {
    readonly id: string
    readonly title: string
    readonly type: string
    readonly bytes_b64: string
    readonly llhttp: { readonly error?: string; readonly ok?: boolean; readonly messages?: number }
  }

  test('are refused where the parser refuses them, and never become more requests than they hold', async (t) => {
    const { cases } = vectors('llhttp-fixtures.json') as { cases: Fixture[] }
    const requests = cases.filter(({ type }) => type.startsWith('request'))
    assert.equal(requests.length, 69)
    const observed = await Promise.all(
      requests.map(async (fixture) => ({
        fixture,
        observation: await observe(Buffer.from(fixture.bytes_b64, 'base64'), 0),
      })),
    )
    for (const { fixture, observation } of observed) {
      await t.test(`${fixture.id}: ${fixture.title}`, () => {
        const { error, messages = 1 } = fixture.llhttp
        // A pause is no error: the parser asks whether to switch protocols, and may be told to ignore the wish (RFC 9110 §7.8).
        const refused = error !== undefined && !error.startsWith('Pause on')
        const { received, statuses } = observation
        assert.deepEqual(
          faults(refused ? 'refuse' : 'either', { ...observation, received: refused ? received : [] }),
          [],
        )
        assert.ok(received.length <= messages, `${received.length} forwarded`)
        assert.ok(received.every(({ method }) => method !== 'PARSE-ERROR'))
        assert.ok(!statuses.includes(500))
      })
    }
  })
})

test('a target of the fixtures of URLs leads to no other host, and none with a fragment is forwarded', {
  skip: skipWithoutShared,
}, async () => {
  const { cases } = vectors('llhttp-fixtures.json') as { cases: { id: string; type: string; bytes_b64: string }[] }
  const targets = cases.filter(({ type }) => type === 'url')
  assert.equal(targets.length, 11)
  for (const { id, bytes_b64 } of targets) {
    const target = Buffer.from(bytes_b64, 'base64').toString('latin1')
    const observation = await observe(Buffer.from(`GET ${target} HTTP/1.1\r\nHost: gw.test\r\n\r\n`, 'latin1'), 0)
    assert.deepEqual(faults('refuse', observation), [], id)
  }
})

describe('a made-up identity', { skip: skipWithoutShared }, () => {
  test('does not reach the backend under any alias, in any position', async () => {
    const { cases } = vectors('identity-header-aliases.json') as {
      cases: { id: string; header: string; canonical: string }[]
    }
    assert.equal(cases.length, 95)
    const backend = await startBackend()
    const front = await startFront(backend.port)
    const agent = new Agent({ keepAlive: true, maxSockets: 8 })
    try {
      const sent = cases.flatMap((alias) =>
        positions.map((position) => ({ ...alias, position, path: `/${alias.id}/${position}` })),
      )
      const statuses = new Map(
        await Promise.all(
          sent.map(async (one) => [one.path, await sendAlias({ port: front.port, agent, ...one })] as const),
        ),
      )
      assert.equal(statuses.size, 380)
      const received = new Map(backend.received.map((one) => [one.url, one]))
      let forwarded = 0
      for (const { path, header, canonical, position } of sent) {
        const one = received.get(path)
        if (header.includes('_') && position !== 'trailer') {
          assert.equal(statuses.get(path), 400, `${path}: ${header}`)
          assert.equal(one, undefined, `${path}: ${header}`)
          continue
        }
        assert.equal(statuses.get(path), 200, `${path}: ${header}`)
        assert.ok(one, path)
        forwarded++
        assert.ok(!one.raw.includes('admin'), `${path}: ${header} reached the backend`)
        assert.deepEqual(one.trailers, [], path)
        const fields = createFields(one.raw)
        const values = valuesOf(one, foldName(canonical))
        assert.ok(values.length <= 1, `${path}: ${values}`)
        assert.deepEqual(values, fields.all(canonical.toLowerCase()), 'and the gateway’s own is spelled plainly')
        for (let i = 0; i < guestFields.length; i += 2) {
          assert.deepEqual(fields.all(guestFields[i]!.toLowerCase()), [guestFields[i + 1]])
        }
      }
      assert.ok(forwarded > 200, `${forwarded} of 380 were let through without the alias`)
    } finally {
      agent.destroy()
      front.close()
      backend.close()
    }
  })
})
