import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { type Identity, identity, type RequestFields, requestId, trace, uuid } from '../../src/context/index.ts'

const sent = (lines: Readonly<Record<string, string>>): RequestFields => {
  const byName = new Map(Object.entries(lines).map(([name, text]) => [name.toLowerCase(), text]))
  return { get: (name) => byName.get(name.toLowerCase()) }
}

describe('trace', () => {
  const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
  const parentId = '00f067aa0ba902b7'
  const { read, carry } = trace()

  const good: [traceparent: string, sampled: boolean][] = [
    [`00-${traceId}-${parentId}-01`, true],
    [`00-${traceId}-${parentId}-00`, false],
    [`00-${traceId}-${parentId}-ff`, true],
    [`cc-${traceId}-${parentId}-01-what-the-future-will-be-like`, true],
    [`cc-${traceId}-${parentId}-00`, false],
  ]
  for (const [traceparent, sampled] of good) {
    test(`continues ${traceparent}`, () => {
      const value = read(sent({ traceparent, tracestate: 'a=1,b=2' }))
      assert.deepEqual({ ...value, spanId: '' }, { traceId, parentId, sampled, state: 'a=1,b=2', spanId: '' })
      assert.match(value.spanId, /^[\da-f]{16}$/)
      assert.notEqual(value.spanId, parentId)
      assert.deepEqual(carry?.fields(value), {
        traceparent: `00-${traceId}-${value.spanId}-0${sampled ? 1 : 0}`,
        tracestate: 'a=1,b=2',
      })
    })
  }

  // W3C Trace Context §3.2.2: an invalid traceparent is as none, and its tracestate goes with it (§3.3.1.1).
  const bad = [
    '',
    `00-${traceId}-${parentId}`,
    `00-${traceId}-${parentId}-01-more`,
    `00-${traceId}-${parentId}-01-`,
    `00-${traceId.toUpperCase()}-${parentId}-01`,
    `00-${'0'.repeat(32)}-${parentId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `ff-${traceId}-${parentId}-01`,
    `cc-${traceId}-${parentId}-01.future`,
    `00-${traceId}-${parentId}-1`,
    `00-${traceId}x-${parentId}-01`,
    ` 00-${traceId}-${parentId}-01, 00-${traceId}-${parentId}-01`,
  ]
  for (const traceparent of bad) {
    test(`begins anew instead of "${traceparent}"`, () => {
      const value = read(sent({ traceparent, tracestate: 'a=1' }))
      assert.notEqual(value.traceId, traceId)
      assert.deepEqual(Object.keys(value).sort(), ['sampled', 'spanId', 'traceId'])
      assert.deepEqual(carry?.fields(value), { traceparent: `00-${value.traceId}-${value.spanId}-01` })
    })
  }
})

describe('request id', () => {
  test('takes what cannot break a log line apart, and nothing else', () => {
    const { read } = requestId()
    const kept = [
      'a',
      'request-1',
      '9f1c7e0e-2a37-4ae7-8b9c-0d6ad2a8e7a1',
      'Root=1-67891233-abcdef012345678912345678',
      'x'.repeat(128),
      'a/b+c=',
    ]
    const replaced = [
      '',
      ' ',
      'two words',
      'x'.repeat(129),
      'a,b',
      'a"b',
      'a\u001bb',
      'é',
      '<script>',
      "a'b",
      '${jndi:x}',
      'a;b',
      '%0a',
    ]
    for (const id of kept) assert.equal(read(sent({ 'x-request-id': id })), id)
    for (const id of replaced) assert.match(read(sent({ 'x-request-id': id })), uuid, id)
  })

  test('can be asked for another field, form, source, and to believe nobody', () => {
    assert.equal(requestId({ field: 'X-Trace' }).read(sent({ 'x-trace': 'abc' })), 'abc')
    const sticky = requestId({ form: /^\d+$/g, generate: () => 'new' })
    assert.deepEqual(
      ['1', '2', '3'].map((id) => sticky.read(sent({ 'x-request-id': id }))),
      ['1', '2', '3'],
    )
    assert.equal(sticky.read(sent({ 'x-request-id': 'x' })), 'new')
    assert.equal(requestId({ renew: true, generate: () => 'new' }).read(sent({ 'x-request-id': 'good' })), 'new')
    assert.throws(() => requestId({ form: uuid, malformed: 'refuse' }).read(sent({ 'x-request-id': 'not-a-uuid' })), {
      status: 400,
    })
  })
})

describe('identity', () => {
  const { read, carry } = identity()

  test('is nobody when no User-ID came, whatever else did', () => {
    assert.equal(read(sent({})), undefined)
    assert.equal(read(sent({ 'user-roles': 'admin', permissions: '*' })), undefined)
    assert.deepEqual(carry?.fields(undefined), {})
  })

  test('is a guest when the gateway says so', () => {
    const guest = read(sent({ 'User-ID': 'anonymous', 'User-Role': 'guest', 'Auth-Status': 'no-token' }))
    assert.deepEqual(guest, { subject: 'anonymous', role: 'guest', roles: [], permissions: [], status: 'no-token' })
  })

  test('goes on to the letter, odd spacing and escapes included', () => {
    const lines = {
      'User-ID': 'a%C3%A9',
      'User-Roles': 'admin , editor',
      Permissions: 'a,,b',
      'Token-Expires': 'soon',
      'User-Email': '50%',
    }
    const caller = read(sent(lines))
    assert.deepEqual(caller, { subject: 'aé', email: '50%', roles: ['admin', 'editor'], permissions: ['a', 'b'] })
    assert.deepEqual(carry?.fields(caller), lines)
  })

  test('cannot be changed by code that happens to hold it', () => {
    const caller = read(sent({ 'user-id': 'ada', 'user-roles': 'viewer' }))!
    assert.throws(() => (caller.roles as string[]).push('admin'), TypeError)
    assert.throws(() => Object.assign(caller, { subject: 'root' }), TypeError)
  })

  test('of a job or a test arrives as it was written, whatever characters it has', () => {
    const text = fc.string({ unit: 'grapheme', minLength: 1 })
    const list = fc.array(text, { maxLength: 4 })
    const anybody = fc.record(
      {
        subject: text,
        email: text,
        role: text,
        roles: list,
        organization: text,
        permissions: list,
        expiresAt: fc.nat(),
      },
      { requiredKeys: ['subject', 'roles', 'permissions'], noNullPrototype: true },
    )
    fc.assert(
      fc.property(anybody, (caller) => {
        const lines = carry!.fields(caller as Identity)
        for (const line of Object.values(lines)) assert.match(line, /^[!-~]*$/)
        assert.deepEqual(read(sent(lines)), caller)
      }),
    )
  })

  test('reads and writes other names where the gateway maps them', () => {
    const mapped = identity({ subject: 'X-Auth-Request-User' })
    const caller = mapped.read(sent({ 'x-auth-request-user': 'ada', 'user-id': 'ignored', 'user-role': 'admin' }))
    assert.equal(caller?.subject, 'ada')
    assert.deepEqual(mapped.carry?.fields(caller), { 'X-Auth-Request-User': 'ada', 'User-Role': 'admin' })
  })
})
