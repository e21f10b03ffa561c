import assert from 'node:assert/strict'
import { describe, mock, type TestContext, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { Authentication, Authenticator } from '../../src/authentication/authenticator.ts'
import { type Caller, guest } from '../../src/authentication/caller.ts'
import { createCredentialWatch } from '../../src/authentication/credential-watch.ts'
import { compileSecurity, identify } from '../../src/authentication/identify.ts'
import { Problem } from '../../src/http/problem.ts'
import type { RequestHead } from '../../src/http/request-head.ts'

const ann: Caller = { ...guest, subject: 'ann', issuer: 'one', method: 'api-key' }
const accepted = (caller: Caller): Authentication => ({ outcome: 'accepted', caller, credential: 'secret' })
const refused = (code: 'invalid-api-key' | 'store-unavailable', reason: string): Authentication => ({
  outcome: 'rejected',
  problem: new Problem(code, reason),
  reason,
})
const head = {} as RequestHead

/** A watch whose clock only the test moves, over schemes that answer what the test says. */
async function scene(
  t: TestContext,
  callers: readonly Caller[],
  more: { revoked?: (caller: Caller) => boolean | Promise<boolean> } = {},
) {
  let milliseconds = 1_000_000
  mock.timers.enable({ apis: ['setInterval'] })
  t.after(() => mock.timers.reset())
  const errors: unknown[] = []
  const log = { debug() {}, info() {}, warn() {}, error: (facts: object) => void errors.push(facts) }
  const answers: (Authentication | Promise<Authentication>)[] = callers.map(accepted)
  const asked = callers.map(() => 0)
  const schemes = callers.map((_, index) => `scheme-${index}`)
  const authenticators = new Map(
    schemes.map((scheme, index): [string, Authenticator] => [
      scheme,
      {
        scheme,
        names: 'roles',
        location: { in: 'header', name: scheme },
        explicit: true,
        authenticate() {
          asked[index]! += 1
          return answers[index]!
        },
      },
    ]),
  )
  const security = compileSecurity([Object.fromEntries(schemes.map((scheme) => [scheme, []]))], authenticators)
  const { revoked = () => false } = more
  const watch = createCredentialWatch({ now: () => milliseconds, log, revoked })
  t.after(() => watch.close())
  const ends: string[] = []
  const identification = await identify(security, head)
  const stop = watch.watch({ head, security, identification }, ({ code }) => ends.push(code))
  asked.fill(0)
  return {
    ends,
    errors,
    asked,
    answers,
    stop,
    async pass(time: number) {
      milliseconds += time
      mock.timers.tick(time)
      await turn()
    },
  }
}

describe('the credential of an open connection', () => {
  test('a token is held against the clock and the revocations, and not looked at again', async (t) => {
    let revoked = false
    const token: Caller = { ...ann, method: 'jwt', expiresAt: 1_010 }
    const one = await scene(t, [token], { revoked: () => revoked })
    await one.pass(5_000)
    assert.deepEqual(one.ends, [])
    revoked = true
    await one.pass(750)
    await one.pass(750)
    assert.deepEqual(one.ends, ['invalid-token'], 'once')
    assert.deepEqual(one.asked, [0])
  })

  test('a token that has to be looked up ends when it is found revoked, and not by an outage', async (t) => {
    let answer: () => Promise<boolean> = async () => false
    const one = await scene(t, [{ ...ann, method: 'jwt', expiresAt: 2_000 }], { revoked: () => answer() })
    await one.pass(750)
    answer = () => Promise.reject(new Error('the store is out'))
    await one.pass(750)
    assert.deepEqual(one.ends, [])
    answer = async () => true
    await one.pass(750)
    await one.pass(750)
    assert.deepEqual([one.ends, one.asked], [['invalid-token'], [0]])
  })

  test('a token that expires', async (t) => {
    const one = await scene(t, [{ ...ann, method: 'jwt', expiresAt: 1_010 }])
    await one.pass(9_750)
    assert.deepEqual(one.ends, [])
    await one.pass(750)
    assert.deepEqual(one.ends, ['token-expired'])
  })

  test('a key, a session or an opaque token is asked about again, until it is refused', async (t) => {
    const one = await scene(t, [ann])
    await one.pass(750)
    await one.pass(750)
    assert.deepEqual([one.ends, one.asked], [[], [2]])
    one.answers[0] = refused('invalid-api-key', 'revoked')
    await one.pass(750)
    assert.deepEqual(one.ends, ['invalid-api-key'])
  })

  test('a second credential that had to hold has to go on holding', async (t) => {
    const one = await scene(t, [
      { ...ann, method: 'jwt' },
      { ...ann, subject: 'machine' },
    ])
    await one.pass(750)
    assert.deepEqual(one.ends, [])
    one.answers[1] = refused('invalid-api-key', 'revoked')
    await one.pass(750)
    assert.deepEqual(one.ends, ['invalid-api-key'])
  })

  test('when it becomes the credential of somebody else', async (t) => {
    const one = await scene(t, [ann])
    one.answers[0] = accepted({ ...ann, subject: 'bob' })
    await one.pass(750)
    assert.deepEqual(one.ends, ['no-credentials'])
  })

  test('an outage ends nothing, nor does a defect, which is logged', async (t) => {
    const one = await scene(t, [ann])
    one.answers[0] = refused('store-unavailable', 'store')
    await one.pass(750)
    const defect = Promise.reject(new Error('defect'))
    defect.catch(() => {})
    one.answers[0] = defect
    await one.pass(750)
    assert.deepEqual(one.ends, [])
    assert.equal(one.errors.length, 1)
    one.answers[0] = refused('invalid-api-key', 'revoked')
    await one.pass(750)
    assert.deepEqual(one.ends, ['invalid-api-key'], 'and it is still watched')
  })

  test('is asked about once at a time, however slow the answer', async (t) => {
    const one = await scene(t, [ann])
    let answer: (authentication: Authentication) => void = () => {}
    one.answers[0] = new Promise<Authentication>((resolve) => {
      answer = resolve
    })
    for (let count = 0; count < 10; count += 1) await one.pass(750)
    assert.deepEqual(one.asked, [1])
    answer(accepted(ann))
    await turn()
    await one.pass(750)
    assert.deepEqual(one.asked, [2])
  })

  test('is forgotten when the connection has closed', async (t) => {
    const one = await scene(t, [ann])
    one.stop()
    one.answers[0] = refused('invalid-api-key', 'revoked')
    await one.pass(7_500)
    assert.deepEqual([one.ends, one.asked], [[], [0]])
  })
})
