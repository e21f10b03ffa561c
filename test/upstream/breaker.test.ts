import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Breaker, type BreakerState } from '../../src/upstream/breaker.ts'

function breakerAt(failures = 3, cooldown = 1_000, share?: number) {
  const clock = { now: 0 }
  const states: BreakerState[] = []
  const breaker = new Breaker(
    { failures, cooldown, share, slowStart: cooldown, maxEjected: 0.5 },
    () => clock.now,
    (state) => states.push(state),
  )
  const fail = (times = 1) => {
    for (let i = 0; i < times; i++) {
      breaker.begin()
      breaker.failed('silent')
    }
  }
  return { breaker, clock, states, fail }
}

describe('a circuit breaker', () => {
  test('opens after so many failures in a row, and a success in between starts the count again', () => {
    const { breaker, fail } = breakerAt()
    fail(2)
    breaker.succeeded()
    fail(2)
    assert.equal(breaker.admits, true)
    fail()
    assert.equal(breaker.state, 'open')
    assert.equal(breaker.admits, false)
  })

  test('lets one request try after the cooldown, and closes when that succeeds', () => {
    const { breaker, clock, states, fail } = breakerAt()
    fail(3)
    clock.now = 999
    assert.equal(breaker.admits, false)
    clock.now = 1_000
    assert.equal(breaker.admits, true)
    breaker.begin()
    assert.equal(breaker.admits, false, 'only one tries')
    breaker.succeeded()
    assert.equal(breaker.admits, true)
    assert.deepEqual(states, ['open', 'half-open', 'closed'])
  })

  test('opens again at once when that one fails', () => {
    const { breaker, clock, fail } = breakerAt()
    fail(3)
    clock.now = 1_000
    assert.equal(breaker.admits, true)
    fail()
    assert.equal(breaker.state, 'open')
    clock.now = 1_999
    assert.equal(breaker.admits, false)
    clock.now = 2_000
    assert.equal(breaker.admits, true)
  })

  test('does not wait for a request that its client gave up', () => {
    const { breaker, clock, fail } = breakerAt()
    fail(3)
    clock.now = 1_000
    assert.equal(breaker.admits, true)
    breaker.begin()
    breaker.abandoned()
    assert.equal(breaker.admits, true)
  })

  test('is not held open by the last of many requests that failed together', () => {
    const { breaker, clock, fail } = breakerAt()
    fail(3)
    clock.now = 500
    fail(20)
    clock.now = 1_000
    assert.equal(breaker.admits, true)
  })

  test('does not wait for the cooldown when the target is known to be back', () => {
    const { breaker, fail } = breakerAt()
    fail(3)
    breaker.reachable()
    assert.equal(breaker.admits, true)
    breaker.succeeded()
    breaker.reachable()
    assert.equal(breaker.state, 'closed')
  })

  test('opens after a share of twenty requests has failed, though never so many in a row', () => {
    const { breaker, fail } = breakerAt(3, 1_000, 0.5)
    const alternate = (times: number) => {
      for (let i = 0; i < times; i++) {
        breaker.succeeded()
        fail()
      }
    }
    alternate(9)
    assert.equal(breaker.state, 'closed')
    alternate(1)
    assert.equal(breaker.state, 'open')
    const { breaker: patient, fail: rarely } = breakerAt(3, 1_000, 0.5)
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 2; i++) patient.succeeded()
      rarely()
    }
    assert.equal(patient.state, 'closed', 'a third is not half')
    const { breaker: plain, fail: often } = breakerAt()
    for (let round = 0; round < 50; round++) {
      plain.succeeded()
      often(2)
    }
    assert.equal(plain.state, 'closed', 'nobody has asked for it')
  })
})
