import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Authentication, Authenticator } from '../../src/authentication/authenticator.ts'
import { absent } from '../../src/authentication/authenticator.ts'
import { guest } from '../../src/authentication/caller.ts'
import { compileSecurity, identify } from '../../src/authentication/identify.ts'
import { Problem } from '../../src/http/problem.ts'
import type { RequestHead } from '../../src/http/request-head.ts'

const head = {} as RequestHead
const accepted = (subject: string, roles: string[] = []): Authentication => ({
  outcome: 'accepted',
  caller: { ...guest, subject, roles, method: 'jwt' },
  credential: `${subject}-credential`,
})
const rejected = (
  reason = 'signature',
  code: 'invalid-token' | 'ambiguous-credentials' | 'issuer-unavailable' = 'invalid-token',
) => ({ outcome: 'rejected', reason, problem: new Problem(code, 'no') }) satisfies Authentication

interface Said {
  bearer?: Authentication
  oauth2?: Authentication
  key?: Authentication
  session?: Authentication
}

function ask(
  security: Record<string, string[]>[],
  said: Said,
  invalid: 'reject' | 'anonymous' = 'reject',
  late = false,
) {
  const answer = (result: Authentication = absent) => (late ? Promise.resolve(result) : result)
  const make = (scheme: string, explicit: boolean, result: Authentication | undefined, challenge?: string) => ({
    scheme,
    names: 'roles' as const,
    location: { in: explicit ? ('header' as const) : ('cookie' as const), name: scheme },
    explicit,
    ...(challenge && { challenge }),
    authenticate: () => answer(result),
  })
  const schemes = new Map<string, Authenticator>(
    [
      make('bearer', true, said.bearer, 'Bearer realm="gateway"'),
      { ...make('oauth2', true, said.oauth2), location: { in: 'header' as const, name: 'bearer' } },
      make('key', true, said.key),
      make('session', false, said.session),
    ].map((scheme) => [scheme.scheme, scheme]),
  )
  return identify(compileSecurity(security, schemes, { invalidCredentials: invalid }), head)
}

for (const late of [false, true]) {
  const who = async (security: Record<string, string[]>[], said: Said, invalid?: 'reject' | 'anonymous') =>
    ask(security, said, invalid, late)
  const either = [{ bearer: [] }, { key: [] }]

  describe(`who is calling, with answers that come ${late ? 'later' : 'at once'}`, () => {
    test('a public operation looks at no credential', async () => {
      const { caller, status } = await who([], { bearer: rejected() })
      assert.deepEqual([caller, status], [guest, 'no-token'])
    })

    test('the first alternative that holds decides who calls', async () => {
      const found = await who(either, { bearer: accepted('ada'), key: accepted('robot') })
      assert.equal(found.caller.subject, 'ada')
      assert.deepEqual(
        found.credentials.map(({ text }) => text),
        ['ada-credential', 'robot-credential'],
      )
      assert.equal((await who(either, { key: accepted('robot') })).caller.subject, 'robot')
    })

    test('rights of two credentials are never added up', async () => {
      const needsBoth = [{ bearer: ['admin', 'editor'] }, { key: ['admin', 'editor'] }]
      const found = await who(needsBoth, { bearer: accepted('ada', ['admin']), key: accepted('robot', ['editor']) })
      assert.equal(found.caller.subject, 'ada')
      assert.deepEqual(found.unmet, {
        scheme: 'bearer',
        kind: 'roles',
        missing: ['editor'],
        needed: ['admin', 'editor'],
      })
    })

    test('a later alternative holds where the first lacks a role', async () => {
      const found = await who([{ bearer: ['admin'] }, { key: [] }], { bearer: accepted('ada'), key: accepted('robot') })
      assert.equal(found.caller.subject, 'robot')
      assert.equal(found.unmet, undefined)
    })

    test('a set holds only when all of it does', async () => {
      const together = [{ bearer: [], key: [] }]
      assert.equal((await who(together, { bearer: accepted('ada'), key: accepted('robot') })).caller.subject, 'ada')
      await assert.rejects(who(together, { bearer: accepted('ada') }), { code: 'no-credentials' })
    })

    test('an invalid explicit credential refuses the call even beside a good one', async () => {
      await assert.rejects(who(either, { bearer: rejected(), key: accepted('robot') }), { code: 'invalid-token' })
      await assert.rejects(who(either, { bearer: accepted('ada'), key: rejected() }), { code: 'invalid-token' })
    })

    test('a token that one of two schemes at the same place accepts is not invalid', async () => {
      const security = [{ bearer: [] }, { oauth2: [] }]
      assert.equal((await who(security, { bearer: rejected(), oauth2: accepted('ada') })).caller.subject, 'ada')
      await assert.rejects(who(security, { bearer: rejected(), oauth2: rejected() }), { code: 'invalid-token' })
    })

    test('an expired cookie beside a good explicit credential counts as absent', async () => {
      const security = [{ session: [] }, { bearer: [] }]
      const found = await who(security, { session: rejected('expired'), bearer: accepted('ada') })
      assert.equal(found.caller.subject, 'ada')
      await assert.rejects(who(security, { session: rejected('expired') }), { status: 401 })
    })

    test('optional means a guest when nothing is sent, and 401 when something invalid is', async () => {
      const optional = [{ bearer: [] }, {}]
      assert.equal((await who(optional, {})).caller, guest)
      assert.equal((await who(optional, { bearer: accepted('ada') })).caller.subject, 'ada')
      await assert.rejects(who(optional, { bearer: rejected() }), { code: 'invalid-token' })
    })

    test('a service may take an invalid credential for a guest, and says which kind of invalid', async () => {
      const optional = [{ bearer: [] }, {}]
      assert.equal((await who(optional, { bearer: rejected('expired') }, 'anonymous')).status, 'token-expired')
      assert.equal((await who(optional, { bearer: rejected() }, 'anonymous')).status, 'invalid-token')
      await assert.rejects(who([{ bearer: [] }], { bearer: rejected() }, 'anonymous'), { code: 'invalid-token' })
    })

    test('an ambiguous credential or an outage ends the call whatever else was sent', async () => {
      const optional = [...either, {}]
      for (const code of ['ambiguous-credentials', 'issuer-unavailable'] as const) {
        const said = { bearer: rejected('x', code), key: accepted('robot') }
        await assert.rejects(who(optional, said, 'anonymous'), { code })
      }
    })

    test('a caller that is known stays known where guests are welcome', async () => {
      const found = await who([{ bearer: ['admin'] }, {}], { bearer: accepted('ada') })
      assert.equal(found.caller.subject, 'ada')
      assert.equal(found.unmet, undefined)
    })

    test('every 401 carries the challenge of each scheme that has one', async () => {
      await assert.rejects(who(either, {}), (problem: Problem) => {
        assert.deepEqual(problem.fields['WWW-Authenticate'], ['Bearer realm="gateway"'])
        return problem.code === 'no-credentials'
      })
    })
  })
}
