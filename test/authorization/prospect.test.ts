import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { compileAllow } from '../../src/authorization/allow.ts'
import { mayPermit } from '../../src/authorization/prospect.ts'
import { questionOf } from './question.ts'

const ada = { roles: ['editor'], permissions: ['orders:read'], scopes: [], claims: { team: 'red', beta: true } }

/** Expressions about an editor who would call DELETE, and whether any request of hers may pass. */
const conditions: readonly (readonly [when: string, may: boolean])[] = [
  ["'admin' in caller.roles", false],
  ["'editor' in caller.roles", true],
  ["caller.claims.team == 'red' && caller.claims.beta == true", true],
  ["caller.claims.team == 'blue' || 'admin' in caller.roles", false],
  ["caller.claims.missing == 'x'", false],
  ["!(caller.claims.missing == 'x')", false],
  ["caller.claims.missing == 'x' || 'editor' in caller.roles", true],
  ["request.method == 'GET'", false],
  ["request.method == 'DELETE'", true],
  ["request.method == 'GET' || 'admin' in caller.roles", false],
  ["route.id == 'orders GET /{id}' && service.name == 'orders'", true],
  ["service.name == 'users'", false],
  ['caller.subject == request.params.id', true],
  ['!(caller.subject == request.params.id)', true],
  ["caller.subject == request.params.id && 'admin' in caller.roles", false],
  ["caller.subject == request.params.id || 'admin' in caller.roles", true],
  ["!(caller.subject == request.params.id || 'editor' in caller.roles)", false],
  ["request.query.draft == 'yes' ? 'admin' in caller.roles : 'editor' in caller.roles", true],
  ["request.query.draft == 'yes' ? 'admin' in caller.roles : 'owner' in caller.roles", false],
  ["'admin' in caller.roles ? true : inNetwork(request.ip, '10.0.0.0/8')", true],
  ["'editor' in caller.roles ? false : inNetwork(request.ip, '10.0.0.0/8')", false],
  ['request.time.getHours() > 25', true],
  ["caller.roles.exists(role, role == request.headers['x-role'])", true],
  ["caller.roles.exists(role, role == 'admin')", false],
]

describe('whether a caller may pass at all', () => {
  for (const [when, may] of conditions) {
    test(`${when}: ${may ? 'perhaps' : 'never'}`, () => {
      assert.equal(mayPermit(compileAllow({ when }), questionOf({ caller: ada, method: 'DELETE' })), may)
    })
  }

  test('rows about the caller are certain, and one block is enough', () => {
    const question = questionOf({ caller: ada })
    assert.equal(mayPermit(compileAllow({ roles: ['admin'], when: 'request.path == "/"' }), question), false)
    assert.equal(mayPermit(compileAllow({ roles: ['editor'], when: 'request.path == "/"' }), question), true)
    assert.equal(mayPermit(compileAllow([{ roles: ['admin'] }, { scopes: ['orders'] }]), question), false)
    assert.equal(mayPermit(compileAllow([{ roles: ['admin'] }, { permissions: ['orders:read'] }]), question), true)
  })

  const about = { caller: ["'editor' in caller.roles", "'admin' in caller.roles", "caller.claims.missing == 'x'"] }
  const request = ["request.params.id == 'ada'", "request.query.a == '1'", "request.headers['x-a'] == '1'"]
  const expressions = (atoms: readonly string[]) =>
    fc.letrec<{ all: string }>((tie) => ({
      all: fc.oneof(
        { depthSize: 'small', withCrossShrink: true },
        fc.constantFrom(...atoms),
        fc.tuple(tie('all'), fc.constantFrom('&&', '||'), tie('all')).map((parts) => `(${parts.join(' ')})`),
        tie('all').map((inner) => `!(${inner})`),
        fc.tuple(tie('all'), tie('all'), tie('all')).map(([a, b, c]) => `(${a} ? ${b} : ${c})`),
      ),
    })).all

  test('what speaks of the caller alone is foretold exactly', () => {
    fc.assert(
      fc.property(expressions(about.caller), (when) => {
        const policy = compileAllow({ when })
        const question = questionOf({ caller: ada })
        assert.equal(mayPermit(policy, question), policy.decide(question).verdict === 'permit', when)
      }),
      { numRuns: 300 },
    )
  })

  test('no request passes of which it was foretold that none would', () => {
    const asked = fc.record({
      id: fc.constantFrom('ada', 'bob'),
      a: fc.constantFrom(undefined, '1', '2'),
      field: fc.constantFrom(undefined, '1'),
    })
    let never = 0
    fc.assert(
      fc.property(expressions([...about.caller, ...request]), fc.array(asked, { minLength: 4 }), (when, all) => {
        const policy = compileAllow({ when })
        if (mayPermit(policy, questionOf({ caller: ada }))) return
        never += 1
        for (const { id, a, field } of all) {
          const question = questionOf({
            caller: ada,
            params: { id },
            query: a === undefined ? '' : `a=${a}`,
            raw: field === undefined ? [] : ['x-a', field],
          })
          assert.equal(policy.decide(question).verdict, 'deny', when)
        }
      }),
      { numRuns: 500 },
    )
    assert(never > 50, `only ${never} were foretold to fail`)
  })
})
