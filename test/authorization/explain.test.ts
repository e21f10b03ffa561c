import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Caller } from '../../src/authentication/caller.ts'
import { type AllowDefinition, allow, createPolicies, type PolicyFailure } from '../../src/authorization/allow.ts'
import { explainAllow, formatTerm } from '../../src/authorization/explain.ts'
import { questionOf } from './question.ts'

function explained(when: string, caller: Partial<Caller> = {}, params: Readonly<Record<string, string>> = {}): string {
  const policy = createPolicies().compile(allow.parse({ when }))
  const [block] = explainAllow(policy, questionOf({ caller, params })).blocks
  return formatTerm(block!.rows[0]!.term!).join('\n')
}

describe('an explanation', () => {
  test('shows every row of every block, also those the decision did not need', () => {
    const policy = createPolicies().compile(
      allow.parse([
        { roles: ['admin'], scopes: ['orders'] },
        { permissions: ['orders:read'], when: 'caller.subject == "bob"' },
      ]),
    )
    const { decision, blocks } = explainAllow(
      policy,
      questionOf({ caller: { scopes: ['orders'], permissions: ['orders:read'] } }),
    )
    assert.deepEqual(decision, {
      verdict: 'deny',
      code: 'policy-denied',
      row: '/1/when',
      detail:
        'One of these is needed: the role admin and the scope orders; or the permission orders:read and a condition on the caller and the request.',
    })
    assert.deepEqual(
      blocks.map(({ pointer, verdict, rows }) => ({
        pointer,
        verdict,
        rows: rows.map((row) => [row.pointer, row.verdict, row.needs]),
      })),
      [
        {
          pointer: '/0',
          verdict: 'deny',
          rows: [
            ['/0/roles', 'deny', 'the role admin'],
            ['/0/scopes', 'permit', 'the scope orders'],
          ],
        },
        {
          pointer: '/1',
          verdict: 'deny',
          rows: [
            ['/1/permissions', 'permit', 'the permission orders:read'],
            ['/1/when', 'deny', 'a condition on the caller and the request'],
          ],
        },
      ],
    )
    assert.equal(blocks[0]?.rows[0]?.detail, 'The role admin is needed.')
  })

  test('breaks a condition down term by term, with the values that were compared', () => {
    assert.equal(
      explained(
        "'admin' in caller.roles || caller.subject == request.params.id && !(caller.claims.level < 3)",
        { roles: ['reader'], claims: { level: 2 } },
        { id: 'ada' },
      ),
      `'admin' in caller.roles || caller.subject == request.params.id && !(caller.claims.level < 3)  ⇒  false
  'admin' in caller.roles  ⇒  false
    caller.roles  ⇒  ["reader"]
  caller.subject == request.params.id && !(caller.claims.level < 3)  ⇒  false
    caller.subject == request.params.id  ⇒  true
      caller.subject  ⇒  "ada"
      request.params.id  ⇒  "ada"
    !(caller.claims.level < 3)  ⇒  false
      caller.claims.level < 3  ⇒  true
        caller.claims.level  ⇒  2`,
    )
  })

  test('says which terms did not matter, and which could not be evaluated', () => {
    assert.equal(
      explained("has(caller.claims.tenant) && caller.claims.tenant == 'acme' && (true || false)"),
      `has(caller.claims.tenant) && caller.claims.tenant == 'acme' && (true || false)  ⇒  false
  has(caller.claims.tenant)  ⇒  false
  caller.claims.tenant == 'acme'  ⇒  error: No such key: tenant (not needed)
    caller.claims.tenant  ⇒  error: No such key: tenant (not needed)
  true || false  ⇒  true (not needed)
    true  ⇒  true (not needed)
    false  ⇒  false (not needed)`,
    )
  })

  test('shows texts as they are written, with their parentheses', () => {
    const text = explained(
      "( caller.subject == ('a' + ( 'da' )) ) == (true) && (caller.roles.size() - (1 - 2)) * 2 == 2",
    )
    assert.match(text, /^ {2}\( caller\.subject == \('a' \+ \( 'da' \)\) \) == \(true\) {2}⇒ {2}true$/m)
    assert.match(text, /^ {4}caller\.subject == \('a' \+ \( 'da' \)\) {2}⇒ {2}true$/m)
    assert.match(text, /^ {4}\(caller\.roles\.size\(\) - \(1 - 2\)\) \* 2 {2}⇒ {2}2$/m)
    assert.match(text, /^ {6}caller\.roles\.size\(\) - \(1 - 2\) {2}⇒ {2}1$/m)
  })

  test('can be sent as JSON whatever values come up', () => {
    const when =
      'request.time > timestamp("2020-01-01T00:00:00Z") && duration("90m") > duration("1h") && {"a": 1u} == {"a": 1u} && ' +
      'b"\\xff" == b"\\xff" && type(1) == int && 9223372036854775807 > 1 && caller.claims == {}'
    const policy = createPolicies().compile(allow.parse({ when }))
    const explanation = explainAllow(policy, questionOf())
    assert.deepEqual(JSON.parse(JSON.stringify(explanation)), explanation)
    assert.equal(explanation.decision.verdict, 'permit')
  })

  test('counts nothing as a failed evaluation: nobody called', () => {
    const failures: PolicyFailure[] = []
    const policy = createPolicies({ onError: (failure) => failures.push(failure) }).compile(
      allow.parse({ when: 'caller.claims.x == 1' }),
    )
    assert.equal(explainAllow(policy, questionOf()).decision.verdict, 'deny')
    assert.equal(failures.length, 0)
  })
})

describe('for every policy and every caller', () => {
  const names = ['a', 'b', 'c', 'constructor', '__proto__']
  const some = fc.subarray(names)
  const atLeastOne = fc.subarray(names, { minLength: 1 })

  const leaf = fc.oneof(
    fc.constantFrom(
      'true',
      'false',
      'caller.authenticated',
      "caller.subject == 'a'",
      'caller.claims.level > 1',
      "caller.claims.tenant == 'a'",
      'has(caller.claims.tenant)',
      'request.params.id == caller.subject',
      "caller.roles.exists(r, r == 'b')",
      'caller.claims.list.all(i, i > 0)',
      "caller.email == 'a'",
      '1 / caller.roles.size() == 1',
    ),
    fc.constantFrom(...names).map((name) => `'${name}' in caller.roles`),
  )
  const { expression } = fc.letrec<{ expression: string }>((tie) => ({
    expression: fc.oneof(
      { maxDepth: 3, withCrossShrink: true },
      leaf,
      fc
        .tuple(tie('expression'), fc.constantFrom('&&', '||', '==', '!='), tie('expression'))
        .map(([a, op, b]) => `(${a}) ${op} (${b})`),
      tie('expression').map((one) => `!(${one})`),
      fc.tuple(tie('expression'), tie('expression'), tie('expression')).map(([a, b, c]) => `(${a}) ? (${b}) : (${c})`),
    ),
  }))

  const block = fc
    .record({ roles: atLeastOne, permissions: atLeastOne, scopes: atLeastOne, when: expression }, { requiredKeys: [] })
    .filter((rows) => Object.keys(rows).length > 0)
  const definition = fc.oneof(block, fc.array(block, { minLength: 1, maxLength: 4 }))

  const question = fc
    .record({
      subject: fc.constantFrom('a', 'b'),
      roles: some,
      permissions: some,
      scopes: some,
      claims: fc.record(
        {
          level: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.constant('x')),
          tenant: fc.constantFrom('a', 'b'),
          list: fc.array(fc.integer({ min: -1, max: 3 }), { maxLength: 3 }),
        },
        { requiredKeys: [] },
      ),
    })
    .chain((caller) => fc.constantFrom('a', 'b').map((id) => questionOf({ caller, params: { id } })))

  const policies = createPolicies({ rolePermissions: { a: ['b', 'c'], constructor: ['a'] } })
  const compile = (written: unknown) => policies.compile(allow.parse(written) as AllowDefinition)

  test('what is explained is what is decided', () => {
    fc.assert(
      fc.property(definition, question, (written, asked) => {
        const policy = compile(written)
        const explanation = explainAllow(policy, asked)
        assert.deepEqual(explanation.decision, policy.decide(asked))
        assert.equal(
          explanation.blocks.some(({ verdict }) => verdict === 'permit'),
          explanation.decision.verdict === 'permit',
        )
      }),
      { numRuns: 300 },
    )
  })

  test('a denial points at a row that says no', () => {
    fc.assert(
      fc.property(definition, question, (written, asked) => {
        const policy = compile(written)
        const decision = policy.decide(asked)
        if (decision.verdict !== 'deny') return
        const row = explainAllow(policy, asked)
          .blocks.flatMap(({ rows }) => rows)
          .find(({ pointer }) => pointer === decision.row)
        assert.equal(row?.verdict, 'deny')
      }),
      { numRuns: 200 },
    )
  })

  test('another requirement never lets more through, another block never less', () => {
    fc.assert(
      fc.property(block, block, question, (one, other, asked) => {
        const verdict = (written: unknown) => compile(written).decide(asked).verdict === 'permit'
        // Rows of `one` stand; `other` only adds what `one` leaves open.
        const tightened = verdict({ ...other, ...one })
        if (tightened) assert.ok(verdict(one))
        assert.equal(verdict([one, other]), verdict(one) || verdict(other))
      }),
      { numRuns: 300 },
    )
  })

  test('the order of rows, of names and of blocks never changes whether a caller may', () => {
    fc.assert(
      fc.property(fc.array(block, { minLength: 1, maxLength: 4 }), question, (written, asked) => {
        const reversed = written.toReversed().map((one) =>
          Object.fromEntries(
            Object.entries(one)
              .toReversed()
              .map(([key, value]) => [key, Array.isArray(value) ? value.toReversed() : value]),
          ),
        )
        assert.equal(compile(reversed).decide(asked).verdict, compile(written).decide(asked).verdict)
      }),
      { numRuns: 200 },
    )
  })

  test('the same question gets the same decision again', () => {
    fc.assert(
      fc.property(definition, question, (written, asked) => {
        const policy = compile(written)
        assert.deepEqual(policy.decide(asked), policy.decide(asked))
        assert.deepEqual(policy.decide(asked), compile(written).decide(asked))
      }),
      { numRuns: 100 },
    )
  })
})
