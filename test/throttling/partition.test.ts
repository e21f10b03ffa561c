import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import ipaddr from 'ipaddr.js'
import { guest } from '../../src/authentication/caller.ts'
import { type Counted, networkOf, type PartitionName, partitionBy } from '../../src/throttling/partition.ts'
import { callerWith } from '../authorization/question.ts'

describe('an address', () => {
  for (const [address, network] of [
    ['203.0.113.7', '203.0.113.7'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['2001:0DB8:0000:0001:ffff:ffff:ffff:ffff', '2001:db8:0:1::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['fe80::', 'fe80:0:0:0::/64'],
    ['1:2:3:4:5:6:7::', '1:2:3:4::/64'],
    ['::2:3:4:5:6:7:8', '0:2:3:4::/64'],
    ['::ffff:203.0.113.7', '203.0.113.7'],
    ['64:ff9b::203.0.113.7', '64:ff9b:0:0::/64'],
    ['1:2:3:4:5:6:203.0.113.7', '1:2:3:4::/64'],
    ['unix', 'unix'],
  ] as const) {
    test(`${address} belongs to ${network}`, () => assert.equal(networkOf(address), network))
  }

  test('shares its bucket with exactly the 2^64 addresses of its /64', () => {
    const bytes = fc.array(fc.nat(255), { minLength: 16, maxLength: 16 })
    fc.assert(
      fc.property(bytes, bytes, fc.boolean(), (one, other, sameNetwork) => {
        const second = sameNetwork ? [...one.slice(0, 8), ...other.slice(8)] : other
        const [a, b] = [new ipaddr.IPv6(one), new ipaddr.IPv6(second)]
        const same = one.slice(0, 8).every((byte, index) => byte === second[index])
        for (const write of [
          (ip: ipaddr.IPv6) => ip.toString(),
          (ip: ipaddr.IPv6) => ip.toNormalizedString(),
          (ip: ipaddr.IPv6) => ip.toRFC5952String(),
        ]) {
          assert.equal(networkOf(write(a)) === networkOf(b.toString()), same)
        }
      }),
    )
  })
})

describe('a request takes from the bucket', () => {
  const ada = callerWith({ subject: 'ada', tokenId: 't1', organization: 'acme', claims: { tenant: 'north', level: 3 } })
  const counted = (over: Partial<Counted> = {}): Counted => ({
    address: '203.0.113.7',
    caller: ada,
    route: 'orders',
    ...over,
  })
  const same = (by: PartitionName, one: Counted, other: Counted) => partitionBy(by)(one) === partitionBy(by)(other)

  for (const [by, equal, different] of [
    ['caller', counted({ address: '198.51.100.1' }), counted({ caller: callerWith({ subject: 'bob' }) })],
    [
      'caller',
      counted({ caller: callerWith({ subject: 'ada', tokenId: 't2' }) }),
      counted({ caller: callerWith({ subject: 'ada', issuer: 'https://other' }) }),
    ],
    ['address', counted({ caller: callerWith({ subject: 'bob' }) }), counted({ address: '203.0.113.8' })],
    ['key', counted({ address: '198.51.100.1' }), counted({ caller: { ...ada, tokenId: 't2' } })],
    [
      'organization',
      counted({ caller: { ...ada, subject: 'bob' } }),
      counted({ caller: { ...ada, organization: 'other' } }),
    ],
    [
      'route',
      counted({ caller: callerWith({ subject: 'bob' }), address: '198.51.100.1' }),
      counted({ route: 'orders GET /{id}' }),
    ],
    [
      'claim:tenant',
      counted({ caller: { ...ada, subject: 'bob' } }),
      counted({ caller: { ...ada, claims: { tenant: 'south' } } }),
    ],
    [
      'claim:level',
      counted({ caller: { ...ada, claims: { level: 3 } } }),
      counted({ caller: { ...ada, claims: { level: 4 } } }),
    ],
  ] as const) {
    test(`of its ${by}`, () => {
      assert.ok(same(by, counted(), equal))
      assert.ok(!same(by, counted(), different))
    })
  }

  test('of its address as long as nobody knows who calls', () => {
    for (const by of ['caller', 'key', 'organization', 'claim:tenant'] as const) {
      for (const caller of [guest, undefined]) {
        const anonymous = (address: string): Counted => ({ address, route: 'orders', ...(caller && { caller }) })
        assert.ok(same(by, anonymous('2001:db8::1'), anonymous('2001:db8::2')))
        assert.ok(!same(by, anonymous('2001:db8::1'), anonymous('2001:db8:0:1::1')))
      }
    }
  })

  test('of its own when it lacks what is asked for: nobody is without a limit, nobody shares one by accident', () => {
    const bare = (subject: string) =>
      counted({ caller: callerWith({ subject, claims: JSON.parse('{"tenant":{"a":1}}') }) })
    for (const by of ['key', 'organization', 'claim:tenant', 'claim:__proto__', 'claim:constructor'] as const) {
      assert.ok(same(by, bare('ada'), bare('ada')))
      assert.ok(!same(by, bare('ada'), bare('bob')))
    }
  })

  test('of nobody else, whatever its names are made of', () => {
    const tricky = fc.constantFrom('', ' ', 'a', 'a b', '1 a', 'caller', '0  a', '\n')
    const caller = fc.record({ issuer: tricky, subject: tricky, organization: tricky, tokenId: tricky })
    fc.assert(
      fc.property(caller, caller, fc.constantFrom('caller', 'key', 'organization'), (one, other, by) => {
        const asked = { caller: 'subject', key: 'tokenId', organization: 'organization' } as const
        const equal = one.issuer === other.issuer && one[asked[by]] === other[asked[by]]
        assert.equal(same(by, counted({ caller: callerWith(one) }), counted({ caller: callerWith(other) })), equal)
      }),
    )
  })
})
