import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Shared } from '../../src/gateway/shared.ts'

function counting() {
  const shared = new Shared()
  const log: string[] = []
  const acquire = (scope: ReturnType<Shared['scope']>, key: string) =>
    scope.acquire(
      key,
      () => {
        log.push(`open ${key}`)
        return { key }
      },
      () => void log.push(`close ${key}`),
    )
  return { shared, log, acquire }
}

test('what the next revision still needs survives the swap with its state', async () => {
  const { shared, log, acquire } = counting()
  const first = shared.scope()
  const kept = await acquire(first, 'pool')
  await acquire(first, 'old')
  const second = shared.scope()
  assert.equal(await acquire(second, 'pool'), kept)
  await first.release()
  assert.deepEqual(log, ['open pool', 'open old', 'close old'])
  await second.release()
  assert.deepEqual(log.at(-1), 'close pool')
})

test('two acquisitions in one revision count once', async () => {
  const { shared, log, acquire } = counting()
  const scope = shared.scope()
  assert.equal(await acquire(scope, 'pool'), await acquire(scope, 'pool'))
  await scope.release()
  assert.deepEqual(log, ['open pool', 'close pool'])
})

test('a creation that fails is tried again by the next who asks', async () => {
  const shared = new Shared()
  const failing = shared.scope()
  await assert.rejects(
    failing.acquire(
      'key',
      () => Promise.reject(new Error('down')),
      () => {},
    ),
    /down/,
  )
  const scope = shared.scope()
  assert.equal(
    await scope.acquire(
      'key',
      () => 'up',
      () => {},
    ),
    'up',
  )
  await failing.release()
  await scope.release()
})
