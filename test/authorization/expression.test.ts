import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { allow, createPolicies, InvalidAllow, type PolicyFailure } from '../../src/authorization/allow.ts'
import type { Question } from '../../src/authorization/policy.ts'
import { longestList, longestText } from '../../src/authorization/vocabulary.ts'
import { questionOf } from './question.ts'

function holds(when: string, question: Question = questionOf()): boolean {
  return createPolicies().compile(allow.parse({ when })).decide(question).verdict === 'permit'
}

function mistake(when: unknown, params?: readonly string[]): string {
  try {
    createPolicies().compile(allow.parse({ when }), params && { params })
  } catch (error) {
    assert.ok(error instanceof InvalidAllow)
    return error.mistakes.map(({ message }) => message).join('\n')
  }
  return assert.fail(`accepted: ${when}`)
}

describe('a condition', () => {
  const question = questionOf({
    caller: {
      roles: ['editor', 'reader'],
      permissions: ['orders:read'],
      scopes: ['orders'],
      email: 'ada@example.org',
      organization: 'acme',
      claims: { sub: 'ada', level: 3, beta: true, realm_access: { roles: ['offline'] }, amr: ['pwd', 'otp'] },
    },
    method: 'PATCH',
    path: '/orders/ada/7',
    query: 'full=1&name=a%20b',
    raw: ['Host', 'api.example', 'X-Tenant', 'acme', 'X-Tag', 'a', 'x-tag', 'b', 'Authorization', 'Bearer secret'],
    address: '10.1.2.3',
    params: { userId: 'ada' },
  })

  for (const when of [
    'caller.subject == request.params.userId',
    "'admin' in caller.roles || caller.organization == request.headers['x-tenant']",
    "caller.roles.exists(role, role == 'editor') && !caller.roles.exists(role, role == 'admin')",
    "'orders:read' in caller.permissions && 'orders' in caller.scopes",
    "caller.authenticated && caller.method == 'jwt' && caller.issuer.startsWith('https://')",
    'caller.claims.level >= 2 && caller.claims.level == 3 && caller.claims.level in [1, 2, 3]',
    'caller.claims.beta == true',
    "'offline' in caller.claims.realm_access.roles && caller.claims.amr.all(way, way != 'sms')",
    "has(caller.email) && caller.email.endsWith('@example.org') && !has(caller.clientId)",
    "request.method in ['PUT', 'PATCH'] && request.path.startsWith('/orders/') && request.host == 'api.example'",
    "request.query.full == '1' && request.query.name == 'a b' && !has(request.query.other)",
    "request.headers['x-tag'] == 'a, b'",
    "service.name == 'orders' && route.id == 'orders GET /{id}'",
    "request.time >= timestamp('2026-09-21T00:00:00Z') && request.time < timestamp('2026-09-22T00:00:00Z')",
    "request.time.getHours() == 14 && request.time.getHours('Europe/Berlin') == 16 && request.time.getFullYear('Asia/Tokyo') == 2026",
    "request.time.getDayOfWeek('Pacific/Kiritimati') == 2 && request.time.getMinutes('Asia/Kolkata') == 43",
    "re2(request.path, '^/orders/[a-z]+/[0-9]+$') && !re2(request.path, '^/users/')",
    "glob(request.path, '/orders/*/*') && glob(request.path, '/**') && !glob(request.path, '/orders/*')",
    "inNetwork(request.ip, '10.0.0.0/8') && !inNetwork(request.ip, '2001:db8::/32')",
    "cel.bind(own, request.params.userId, own == caller.subject && own != '')",
  ]) {
    test(`holds: ${when}`, () => {
      assert.equal(holds(when, question), true)
    })
  }

  for (const [title, when] of [
    ['a claim that is not there', "caller.claims.tenant == 'acme'"],
    ['the negation of a claim that is not there', "!(caller.claims.tenant == 'blocked')"],
    ['a caller without an organisation', "caller.clientId == ''"],
    ['a parameter the route does not have', "request.params.id != 'x'"],
    ['values that cannot be compared', 'caller.claims.amr > 3'],
    ['a field of a text', 'caller.claims.sub.name == "x"'],
    ['an index beyond the end', 'caller.roles[7] != "x"'],
    ['a division by zero', '1 / (caller.roles.size() - 2) == 0'],
    ['a text that is no address', "!inNetwork(request.host, '10.0.0.0/8')"],
  ] as const) {
    test(`denies and counts what cannot be evaluated: ${title}`, () => {
      const failures: PolicyFailure[] = []
      const policies = createPolicies({ onError: (failure) => failures.push(failure) })
      const policy = policies.compile(allow.parse([{ when }]), { pointer: '/services/0/allow' })
      assert.deepEqual(policy.decide(question), {
        verdict: 'deny',
        code: 'policy-denied',
        row: '/0/when',
        detail: 'A condition on the caller and the request does not hold.',
      })
      assert.equal(failures.length, 1)
      assert.equal(failures[0]?.pointer, '/services/0/allow/0/when')
    })
  }

  test('is told apart from an error by || and &&, as CEL defines', () => {
    assert.equal(holds("caller.claims.tenant == 'x' || 'editor' in caller.roles", question), true)
    assert.equal(holds("'editor' in caller.roles || caller.claims.tenant == 'x'", question), true)
    assert.equal(holds("caller.claims.tenant == 'x' && 'editor' in caller.roles", question), false)
  })

  test('sees the permissions that roles bring along', () => {
    const policies = createPolicies({ rolePermissions: { editor: ['orders:write'] } })
    const policy = policies.compile(allow.parse({ when: "'orders:write' in caller.permissions" }))
    assert.equal(policy.decide(question).verdict, 'permit')
  })

  test('does not get to see credentials', () => {
    const policies = createPolicies({
      credentials: [
        { in: 'header', name: 'X-API-Key' },
        { in: 'query', name: 'api_key' },
      ],
    })
    const asked = questionOf({
      raw: ['Cookie', 'a=b', 'X-Api-Key', 'k', 'Authorization', 'x', 'A', '1'],
      query: 'api_key=k&b=2',
    })
    const when = "request.headers == {'a': '1'} && request.query == {'b': '2'}"
    assert.equal(policies.compile(allow.parse({ when })).decide(asked).verdict, 'permit')
  })

  test('cannot be steered by sending a query parameter twice', () => {
    assert.equal(holds("request.query.role == 'a'", questionOf({ query: 'role=a' })), true)
    assert.equal(holds("request.query.role == 'a'", questionOf({ query: 'role=a&role=b' })), false)
    assert.equal(holds("request.query.role != 'a'", questionOf({ query: 'role=a&role=b' })), false)
    assert.equal(holds("request.query.role != 'a'", questionOf({ query: 'role=b&rol%65=c' })), false)
  })
})

describe('a prototype', () => {
  const tricks = ['__proto__', 'constructor', 'prototype', 'toString', 'valueOf', 'hasOwnProperty', '__defineGetter__']
  const places = ['caller.claims', 'request.headers', 'request.query', 'request.params']

  for (const place of places) {
    test(`is not reached through ${place}`, () => {
      for (const key of tricks) {
        const question = questionOf({ raw: ['Host', 'api.example'], params: { id: '1' }, query: 'a=1' })
        assert.equal(holds(`'${key}' in ${place}`, question), false, key)
        assert.equal(holds(`${place}['${key}'] == ${place}['${key}']`, question), false, key)
        assert.equal(holds(`!('${key}' in ${place})`, question), true, key)
      }
    })

    test(`named as a key of ${place} is a key like any other`, () => {
      for (const key of tricks) {
        const question = questionOf({
          raw: [key, 'yes', 'other', '1'],
          params: Object.fromEntries([[key, 'yes']]),
          query: `${key}=yes`,
          caller: { claims: JSON.parse(`{"${key}":"yes","deep":{"${key}":"yes"}}`) },
        })
        const name = place === 'request.headers' ? key.toLowerCase() : key
        assert.equal(holds(`'${name}' in ${place} && ${place}['${name}'] == 'yes'`, question), true, key)
        assert.equal(holds(`caller.claims.deep['${key}'] == 'yes'`, question), true, key)
      }
    })
  }

  test('is not reached through what has declared fields', () => {
    for (const key of tricks) {
      assert.match(mistake(`caller['${key}'] == 'x'`), /No such key/)
      assert.equal(holds(`dyn(caller)['${key}'] == dyn(caller)['${key}']`), false)
      assert.equal(
        holds(`request[caller.subject] == 'x' || true == false`, questionOf({ caller: { subject: key } })),
        false,
      )
    }
  })
})

describe('an expression is refused when the file is read', () => {
  for (const [title, when, message] of [
    [
      'an unknown variable',
      'user.id == 1',
      /^line 1, column 1: Unknown variable: user; there are caller, request, service, route\n {2}user\.id == 1\n {2}\^$/,
    ],
    [
      'an unknown field',
      "true &&\n  'x' in caller.rols",
      /^line 2, column 17: No such key: rols; caller has subject, .*\n {4}'x' in caller\.rols\n {18}\^$/,
    ],
    ['types that never match', 'caller.subject == 1', /no such overload: string == int/],
    ['a result that is no bool', 'caller.subject', /yields string but must yield a bool/],
    ['a result that may be anything', 'caller.claims.beta', /compare it, as in `caller\.claims\.beta == true`/],
    ['a syntax error', 'caller.subject == ', /^line 1, column 19: Unexpected token/],
    ['an unknown function', 'ip(request.ip)', /there are re2, glob, inNetwork/],
    ['matches()', "caller.subject.matches('^(a+)+$')", /use re2\(text, "pattern"\)/],
    ['matches() inside a loop', "caller.roles.exists(r, r.matches('a'))", /use re2\(text, "pattern"\)/],
    ['matches() on a value of any type', "caller.claims.x.matches('a')", /use re2\(text, "pattern"\)/],
    ['a pattern that is not written out', 're2(request.path, caller.subject)', /written out in the expression/],
    ['a broken pattern', "re2(request.path, '(a')", /missing closing \)/],
    ['a backreference', "re2(request.path, '(a)\\\\1')", /invalid escape sequence/],
    ['a huge pattern', "re2(request.path, '((a{1,100}){1,100}){1,100}')", /re2\(\): /],
    ['a pattern for something that is no text', "re2(caller.roles, 'a')", /looks at a string, not at list<string>/],
    ['a network without a prefix', "inNetwork(request.ip, '10.0.0.0')", /such as "10\.0\.0\.0\/8"/],
    ['a network that is too long', "inNetwork(request.ip, '10.0.0.0/33')", /such as "10\.0\.0\.0\/8"/],
    ['a time zone that is none', "request.time.getHours('Europe/Berln') > 8", /there is no time zone "Europe\/Berln"/],
    [
      'three loops in each other',
      'caller.roles.all(a, caller.roles.all(b, caller.roles.all(c, true)))',
      /at most 2 loops/,
    ],
    [
      'a doubling in three steps',
      'cel.bind(a, "x", cel.bind(b, a + a, cel.bind(c, b + b, c == "x")))',
      /at most 2 loops/,
    ],
    [
      'a text split in a loop in a loop',
      "request.path.split('').all(a, caller.roles.all(b, a == b))",
      /split\(\) stands in none/,
    ],
    ['a text split for every item', "caller.roles.exists(r, r in request.path.split('/'))", /split\(\) stands in none/],
    [
      'what was split, bound to a name and run through twice',
      "cel.bind(p, request.path.split('/'), p.all(a, p.all(b, a == b)))",
      /at most 2 loops/,
    ],
    [
      'what was joined and split again',
      "caller.roles.map(r, request.path).join('').split('').exists(c, c == 'x')",
      /split\(\) stands in none/,
    ],
    [
      'a pattern in two loops',
      "caller.roles.all(a, caller.roles.all(b, re2(request.path, 'a')))",
      /re2\(\) and glob\(\) count as one/,
    ],
    ['too many parts', Array(160).fill('true').join(' && '), /maxAstNodes \(300\)/],
    ['too deep', `${'('.repeat(30)}true${')'.repeat(30)}`, /maxDepth \(24\)/],
    ['too long', `true ${' '.repeat(4_000)}`, /at most 4000 characters/],
    ["the engine's own macro", 'observe(true)', /no matching overload|found no/],
  ] as const) {
    test(title, () => assert.match(mistake(when), message))
  }

  test('a parameter that the route does not have', () => {
    assert.match(
      mistake('request.params.userid == "a"', ['userId']),
      /the route has no parameter userid; it has userId/,
    )
    assert.match(mistake('has(request.params.id)', []), /the route has no parameter id; it has none/)
    createPolicies().compile(allow.parse({ when: 'request.params.userId == "a"' }), { params: ['userId'] })
  })

  test('all mistakes of a list are reported together, each with its pointer', () => {
    const definition = allow.parse([{ when: 'x' }, { roles: ['a'], when: 'true' }, { when: '1' }])
    assert.throws(
      () => createPolicies().compile(definition, { pointer: '/services/3/allow' }),
      (error) => {
        assert.ok(error instanceof InvalidAllow)
        assert.deepEqual(
          error.mistakes.map(({ pointer }) => pointer),
          ['/services/3/allow/0/when', '/services/3/allow/2/when'],
        )
        return true
      },
    )
  })
})

describe('an expression cannot be made expensive by a request', () => {
  const many = Array.from({ length: longestList }, (_, index) => `role-${index}`)

  const most = 50

  /**
   * Milliseconds of processor time at best. What else the machine does is not measured, but it may run at half its speed
   * for a moment: what is too dear is tried again for some seconds.
   */
  function cost(when: string, question: Question): number {
    const policy = createPolicies().compile(allow.parse({ when }))
    policy.decide(question)
    let least = Number.POSITIVE_INFINITY
    for (let tries = 0; tries < 40 && least >= most; tries += 1) {
      const start = process.threadCpuUsage()
      policy.decide(question)
      const { user, system } = process.threadCpuUsage(start)
      least = Math.min(least, (user + system) / 1_000)
    }
    return least
  }

  for (const [title, when, question] of [
    [
      'two loops over the longest lists',
      'caller.roles.all(a, caller.permissions.all(b, a != b + "x" && a + b != b + a))',
      questionOf({ caller: { roles: many, permissions: many.map((one) => `${one}p`) } }),
    ],
    [
      'two loops where every step is an error',
      'caller.roles.all(a, caller.roles.exists(b, caller.claims[a] == b))',
      questionOf({ caller: { roles: many } }),
    ],
    [
      'a loop over a path of 16 KiB, split',
      "request.path.split('').all(c, c != 'ß')",
      questionOf({ path: `/${'a'.repeat(16_384)}` }),
    ],
    [
      'patterns known to explode',
      "re2(request.path, '^(/?a+)+$') || re2(request.path, '(a|aa|a?a)*b') || re2(request.path, '(a*)*(a*)*(a*)*c')",
      questionOf({ path: `/${'a'.repeat(longestText - 2)}!` }),
    ],
    [
      'a pattern for each of the longest list',
      "caller.roles.all(r, !re2(request.path, '(a|aa|a?a)*b'))",
      questionOf({ path: `/${'a'.repeat(longestText - 2)}`, caller: { roles: many } }),
    ],
    [
      'a glob of many stars',
      `glob(request.path, '${'**a'.repeat(20)}b')`,
      questionOf({ path: `/${'a'.repeat(longestText - 2)}` }),
    ],
  ] as const) {
    test(title, () => {
      const took = cost(when, question)
      assert.ok(took < most, `${took.toFixed(1)} ms`)
    })
  }

  test('a list that is too long to run through denies instead of being cut short', () => {
    const question = questionOf({ caller: { roles: [...many, 'one more'], claims: { groups: [...many, 'x'] } } })
    assert.equal(holds("!caller.roles.exists(r, r == 'nobody')", question), false)
    assert.equal(holds("!caller.claims.groups.exists(r, r == 'nobody')", question), false)
    const manyClaims = Object.fromEntries(many.map((name) => [name, 1]))
    assert.equal(holds("!caller.claims.exists(k, k == 'nobody')", questionOf({ caller: { claims: manyClaims } })), true)
    const more = questionOf({ caller: { claims: { ...manyClaims, x: 1 } } })
    assert.equal(holds("!caller.claims.exists(k, k == 'nobody')", more), false)
    const raw = Array.from({ length: longestList + 1 }, (_, index) => [`x-${index}`, '1']).flat()
    assert.equal(holds("request.headers.all(k, k != 'nobody')", questionOf({ raw })), false)
    assert.equal(holds("request.headers['x-1'] == '1'", questionOf({ raw })), true)
    assert.equal(holds("'one more' in caller.roles && 'x' in caller.claims.groups", question), true)
  })

  test('a text that is too long for a pattern denies', () => {
    const question = questionOf({ path: `/${'a'.repeat(longestText)}` })
    assert.equal(holds("re2(request.path, 'a')", question), false)
    assert.equal(holds("!re2(request.path, 'b')", question), false)
  })

  test('more query parameters than anybody needs deny', () => {
    const query = Array.from({ length: longestList + 1 }, (_, index) => `p${index}=1`).join('&')
    assert.equal(holds("request.query.p1 == '1'", questionOf({ query })), false)
  })

  test('claims nested beyond reason deny', () => {
    const claims = JSON.parse(`{"a":${'['.repeat(3_000)}${']'.repeat(3_000)},"b":1}`)
    assert.equal(holds('caller.claims.b == 1', questionOf({ caller: { claims } })), false)
  })
})
