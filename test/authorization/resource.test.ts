import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { type AllowDefinition, allow, createPolicies, InvalidAllow } from '../../src/authorization/allow.ts'
import { explainAllow } from '../../src/authorization/explain.ts'
import type { Question, Resource } from '../../src/authorization/policy.ts'
import { Problem } from '../../src/http/problem.ts'
import { questionOf } from './question.ts'

const get = '/{id}'
const failures: unknown[] = []
const policies = createPolicies({ onError: (failure) => failures.push(failure) })
const compile = (written: unknown) => policies.compile(allow.parse(written) as AllowDefinition)
const about = (when: string) => compile({ resource: { get }, when })

function asked(thing?: unknown, question: Question = questionOf()): Question {
  const resource: Resource = { outcome: 'read', value: thing }
  return thing === undefined ? question : { ...question, resources: new Map([[get, resource]]) }
}

function mistakesOf(written: unknown, params?: readonly string[]): readonly string[] {
  try {
    policies.compile(allow.parse(written) as AllowDefinition, params ? { params } : {})
  } catch (error) {
    assert(error instanceof InvalidAllow)
    return error.mistakes.map(({ pointer, message }) => `${pointer} ${message}`)
  }
  return []
}

describe('a condition on a thing', () => {
  test('is open until the thing has been read, where it hangs on it', () => {
    const policy = about("resource.author == caller.subject && caller.subject != 'eve'")
    assert.deepEqual(policy.decide(asked()), { verdict: 'undecided', needs: [{ get, cache: 0 }] })
    assert.equal(policy.decide(asked({ author: 'ada' })).verdict, 'permit')
    assert.equal(policy.decide(asked({ author: 'bob' })).verdict, 'deny')
    assert.equal(policy.decide(asked(undefined, questionOf({ caller: { subject: 'eve' } }))).verdict, 'deny')
  })

  test('reads whatever JSON there is', () => {
    for (const [when, thing] of [
      ['resource == null', null],
      ['resource[1] == "b"', ['a', 'b']],
      ['resource.a.b[0].c == 1.5', { a: { b: [{ c: 1.5 }] } }],
      ['resource.count > 3', { count: 4 }],
      ['"x" in resource.tags && resource.tags.size() == 2', { tags: ['x', 'y'] }],
      ['resource.tags.exists(t, t.startsWith("y"))', { tags: ['x', 'y'] }],
      ['resource.owners.all(o, o.active)', { owners: [{ active: true }] }],
      ['resource == {"a": [1.0], "b": [2.0, 3.0]}', { a: [1], b: [2, 3] }],
      ['resource.exists(key, key == "b") && resource.size() == 2', { a: 1, b: 2 }],
      ['timestamp(resource.until) > request.time', { until: '2100-01-01T00:00:00Z' }],
      ['has(resource.a) && !has(resource.b)', { a: 1 }],
      ['resource.text == "ü"', { text: 'ü' }],
    ] as const) {
      assert.equal(about(when).decide(asked(thing)).verdict, 'permit', when)
    }
  })

  test('reaches no prototype', () => {
    for (const when of [
      'has(resource.constructor)',
      'has(resource.__proto__)',
      'has(resource.a.toString)',
      '"constructor" in resource',
      'resource.constructor != null',
    ])
      assert.equal(about(when).decide(asked(JSON.parse('{"a":{}}'))).verdict, 'deny', when)
    const own = JSON.parse('{"__proto__":{"admin":true},"constructor":"mine"}')
    assert.equal(about("resource.constructor == 'mine'").decide(asked(own)).verdict, 'permit')
    assert.equal(about('has(resource.admin)').decide(asked(own)).verdict, 'deny')
  })

  test('denies where a list is too long to run through, and where it is nested beyond reason', () => {
    const long = { long: Array.from({ length: 101 }, (_, at) => at), short: [1] }
    assert.equal(about('!(resource.long.exists(i, i == -1))').decide(asked(long)).verdict, 'deny')
    assert.equal(about('resource.short.exists(i, i == 1.0)').decide(asked(long)).verdict, 'permit')
    const deep = JSON.parse(`${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}`)
    assert.equal(about(`resource${'.a'.repeat(22)} != null`).decide(asked(deep)).verdict, 'deny')
    assert.equal(about('resource == {"a": 1}').decide(asked(deep)).verdict, 'deny')
  })

  test('that nobody could tell denies with what happened, unless another block holds', () => {
    const problem = new Problem('upstream-unreachable', 'No connection')
    const failed = (question = questionOf()): Question => ({
      ...question,
      resources: new Map([[get, { outcome: 'failed', problem }]]),
    })
    const written = { resource: { get }, when: 'resource.ok' }
    const admins = { roles: ['admin'] }
    const mine = { ...written, when: 'resource.ok == true' }
    for (const list of [
      [mine, admins],
      [admins, mine],
    ]) {
      const policy = compile(list)
      const decision = policy.decide(failed())
      assert.equal(decision.verdict === 'deny' && decision.problem, problem)
      assert.equal(policy.decide(failed(questionOf({ caller: { roles: ['admin'] } }))).verdict, 'permit')
      assert.equal(policy.decide(questionOf({ caller: { roles: ['admin'] } })).verdict, 'permit')
    }
  })

  test('that the caller is not shown is no failed evaluation', () => {
    failures.length = 0
    const hidden: Question = { ...questionOf(), resources: new Map([[get, { outcome: 'hidden' }]]) }
    assert.equal(about('resource.a == 1').decide(hidden).verdict, 'deny')
    assert.equal(about('resource.a == 1').decide(asked()).verdict, 'undecided')
    assert.equal(failures.length, 0)
    assert.equal(about('resource.a == 1').decide(asked({})).verdict, 'deny')
    assert.equal(failures.length, 1)
  })
})

describe('what is wrong with a thing is said when the file is read', () => {
  test('nothing decides about it', () => {
    assert.deepEqual(mistakesOf({ roles: ['a'], resource: { get } }), [
      '/resource nothing decides about it: write `when`, or leave it out',
    ])
    assert.match(mistakesOf({ when: 'true', resource: { get } })[0]!, /^\/resource `when` does not speak of `resource`/)
  })

  test('it is not written what is read', () => {
    const [mistake] = mistakesOf({ when: "caller.subject == 'a' || resource.author == 'b'" })
    assert.equal(
      mistake,
      `/when line 1, column 26: Unknown variable: resource; write beside \`when\` what is read: "resource": { "get": "/{id}" }
  caller.subject == 'a' || resource.author == 'b'
                           ^`,
    )
  })

  test('a parameter that the route does not have', () => {
    const written = [{ when: 'resource.a == 1', resource: { get: '/{ID}/{a.b}' } }]
    assert.deepEqual(mistakesOf(written, ['id']), [
      '/0/resource/get the route has no parameter {ID}; it has id',
      '/0/resource/get the route has no parameter {a.b}; it has id',
    ])
    assert.deepEqual(mistakesOf([{ when: 'resource.a == 1', resource: { get } }], ['id']), [])
  })

  test('a path that is none, and a block of nothing but a thing', () => {
    for (const resource of [{ get: 'id' }, { get: 'http://other/' }, { get, cache: 'long' }, { get, post: '/' }])
      assert.equal(allow.safeParse({ when: 'resource.a == 1', resource }).success, false)
    assert.equal(allow.safeParse({ resource: { get } }).success, false)
  })
})

describe('for every condition and every thing', () => {
  const leaf = fc.constantFrom(
    'resource.a == 1.0',
    "resource.b == 'x'",
    'has(resource.a)',
    "resource.list.exists(i, i == caller.subject || i == 'z')",
    'resource.list.all(i, caller.authenticated)',
    'resource.missing.deeper',
    "caller.subject == 'ada'",
    "'admin' in caller.roles",
    'caller.claims.none == 1',
    "caller.roles.exists(r, r == resource.b || r == 'admin')",
    'true',
    'false',
  )
  const { expression } = fc.letrec<{ expression: string }>((tie) => ({
    expression: fc.oneof(
      { maxDepth: 3 },
      leaf,
      fc
        .tuple(tie('expression'), fc.constantFrom('&&', '||', '=='), tie('expression'))
        .map(([a, op, b]) => `(${a}) ${op} (${b})`),
      tie('expression').map((one) => `!(${one})`),
      fc.tuple(tie('expression'), tie('expression'), tie('expression')).map(([a, b, c]) => `(${a}) ? (${b}) : (${c})`),
    ),
  }))
  const block = fc.tuple(expression, fc.constantFrom(undefined, ['admin'], ['reader'])).map(([when, roles]) => ({
    when: `(${when}) == true`,
    ...(roles && { roles }),
    ...(when.includes('resource') && { resource: { get } }),
  }))
  const thing: fc.Arbitrary<unknown> = fc.oneof(
    fc.record(
      {
        a: fc.constantFrom(1, 2, '1'),
        b: fc.constantFrom('x', 'admin'),
        list: fc.array(fc.constantFrom('ada', 'z', 'q'), { maxLength: 3 }),
      },
      { requiredKeys: [] },
    ),
    fc.constantFrom(null, 3, []),
  )
  const question = fc
    .record({ subject: fc.constantFrom('ada', 'bob'), roles: fc.subarray(['admin', 'reader']) })
    .map((caller) => questionOf({ caller }))

  test('what is decided without the thing is decided so with any', () => {
    fc.assert(
      fc.property(fc.array(block, { minLength: 1, maxLength: 3 }), thing, question, (written, thing, unread) => {
        const policy = compile(written)
        const [before, after] = [policy.decide(unread), policy.decide(asked(thing, unread))]
        if (before.verdict !== 'undecided') assert.equal(after.verdict, before.verdict)
        assert.notEqual(after.verdict, 'undecided')
      }),
      { numRuns: 400 },
    )
  })

  test('what is explained is what is decided, before and after it was read', () => {
    fc.assert(
      fc.property(fc.array(block, { minLength: 1, maxLength: 3 }), thing, question, (written, thing, unread) => {
        const policy = compile(written)
        for (const one of [unread, asked(thing, unread)])
          assert.deepEqual(explainAllow(policy, one).decision, policy.decide(one))
      }),
      { numRuns: 200 },
    )
  })

  test('another requirement never lets more through, another block never less, and their order changes nothing', () => {
    fc.assert(
      fc.property(block, block, thing, question, (one, other, thing, unread) => {
        const verdict = (written: unknown) => compile(written).decide(asked(thing, unread)).verdict === 'permit'
        if (verdict({ ...one, scopes: ['orders'] })) assert.ok(verdict(one))
        const both = { ...one, ...other, when: `${one.when} && ${other.when}` }
        if (verdict({ ...((one.resource ?? other.resource) ? { resource: { get } } : {}), ...both }))
          assert.ok(verdict(other))
        assert.equal(verdict([one, other]), verdict(one) || verdict(other))
        for (const question of [unread, asked(thing, unread)])
          assert.equal(compile([one, other]).decide(question).verdict, compile([other, one]).decide(question).verdict)
      }),
      { numRuns: 200 },
    )
  })
})
