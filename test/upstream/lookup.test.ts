import assert from 'node:assert/strict'
import type { LookupAddress } from 'node:dns'
import { describe, test } from 'node:test'
import { createLookup } from '../../src/upstream/lookup.ts'

type Resolve = Parameters<typeof createLookup>[1]

/** A resolver that is told what to say and when, and a clock. */
function scene() {
  const clock = { now: 0 }
  const asked: string[] = []
  const answers: { addresses?: string[]; after?: number }[] = []
  const resolve = ((
    name: string,
    _options: object,
    callback: (error: Error | null, addresses?: LookupAddress[]) => void,
  ) => {
    asked.push(name)
    const { addresses, after = 0 } = answers.shift() ?? {}
    setTimeout(() => {
      if (addresses)
        callback(
          null,
          addresses.map((address) => ({ address, family: 4 })),
        )
      else callback(new Error('ENOTFOUND'))
    }, after)
  }) as unknown as NonNullable<Resolve>
  const lookup = createLookup(() => clock.now, resolve)
  const ask = (name = 'orders', all = true) =>
    new Promise<string>((done) => {
      lookup(name, { all } as never, (error, address) => {
        if (error) done(error.message)
        else done(Array.isArray(address) ? address.map((one) => one.address).join() : address)
      })
    })
  return { clock, asked, answers, ask }
}

describe('looking up the name of a target', () => {
  test('asks once for many connections, and again after five seconds', async () => {
    const { clock, asked, answers, ask } = scene()
    answers.push({ addresses: ['10.0.0.1', '10.0.0.2'] }, { addresses: ['10.0.0.3'] })
    assert.deepEqual(await Promise.all([ask(), ask(), ask('orders', false)]), [
      '10.0.0.1,10.0.0.2',
      '10.0.0.1,10.0.0.2',
      '10.0.0.1',
    ])
    clock.now = 4_999
    assert.equal(await ask(), '10.0.0.1,10.0.0.2')
    assert.equal(asked.length, 1)
    clock.now = 5_000
    assert.equal(await ask(), '10.0.0.3')
    assert.equal(asked.length, 2)
  })

  test('has the last good answer while the resolver fails or takes its time, for ten minutes', async () => {
    const { clock, answers, ask } = scene()
    answers.push({ addresses: ['10.0.0.1'] })
    await ask()
    clock.now = 60_000
    assert.equal(await ask(), '10.0.0.1', 'though the resolver failed')
    answers.push({ addresses: ['10.0.0.2'], after: 400 })
    assert.equal(await ask(), '10.0.0.1', 'because the resolver dawdles')
    await new Promise((done) => setTimeout(done, 300))
    assert.equal(await ask(), '10.0.0.2', 'which came meanwhile')
    clock.now = 60_000 + 600_001
    assert.equal(await ask(), 'ENOTFOUND')
  })

  test('does not remember that there was none, nor mix up names', async () => {
    const { asked, answers, ask } = scene()
    answers.push({}, { addresses: ['10.0.0.1'] }, { addresses: ['10.0.0.9'] })
    assert.equal(await ask(), 'ENOTFOUND')
    assert.equal(await ask(), '10.0.0.1')
    assert.equal(await ask('stock'), '10.0.0.9')
    assert.deepEqual(asked, ['orders', 'orders', 'stock'])
  })

  test('works with the real resolver', async () => {
    const lookup = createLookup(() => performance.now())
    const address = await new Promise((done) => lookup('localhost', { family: 4 }, (_error, found) => done(found)))
    assert.equal(address, '127.0.0.1')
  })
})
