import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createFields } from '../../src/http/fields.ts'
import { createClientReader, forwardedFields } from '../../src/http/forwarded.ts'
import { Problem } from '../../src/http/problem.ts'

const read = createClientReader(['10.0.0.0/8', 'fd00::/8', '127.0.0.1'])
const client = (peer: string, ...raw: string[]) => read(peer, false, createFields(['Host', 'GW.test:8080', ...raw]))
const xff = (...values: string[]) => values.flatMap((value) => ['X-Forwarded-For', value])

describe('the client of a request', () => {
  test('is the peer when nothing is trusted, whatever the request claims', () => {
    const claims = createFields([
      ...['Host', 'gw.test', 'X-Forwarded-For', '1.2.3.4', 'Forwarded', 'for=1.2.3.4;proto=https;host=evil.test'],
      ...['X-Forwarded-Proto', 'https', 'X-Forwarded-Host', 'evil.test'],
    ])
    const expected = {
      address: '10.0.0.1',
      protocol: 'http',
      host: 'gw.test',
      peer: '10.0.0.1',
      viaTrustedProxy: false,
    }
    assert.deepEqual(createClientReader([])('10.0.0.1', false, claims), expected)
    assert.deepEqual(createClientReader(['192.0.2.0/24'])('10.0.0.1', false, claims), expected)
    assert.deepEqual(createClientReader(['10.0.0.2'])('10.0.0.1', true, claims), { ...expected, protocol: 'https' })
  })

  test('is the right-most address that no trusted proxy has', () => {
    assert.equal(client('10.0.0.1', ...xff('203.0.113.7')).address, '203.0.113.7')
    assert.equal(client('10.0.0.1', ...xff('1.1.1.1, 203.0.113.7')).address, '203.0.113.7')
    assert.equal(client('10.0.0.1', ...xff('1.1.1.1, 203.0.113.7, 10.9.9.9')).address, '203.0.113.7')
    assert.equal(client('10.0.0.1', ...xff('1.1.1.1', '203.0.113.7', '10.9.9.9')).address, '203.0.113.7')
    assert.equal(client('::ffff:10.0.0.1', ...xff('203.0.113.7')).address, '203.0.113.7')
    assert.equal(client('fd00::1%eth0', ...xff('203.0.113.7')).address, '203.0.113.7')
  })

  test('is the outermost trusted proxy when all are trusted, or when that proxy does not know', () => {
    assert.equal(client('10.0.0.1', ...xff('10.0.0.3, 10.0.0.2')).address, '10.0.0.3')
    for (const node of 'unknown _hidden admin 300.1.1.1 010.0.0.1 127.1 2130706433 ::ffff:999.0.0.1 [] 1.2.3.4.5'.split(
      ' ',
    )) {
      assert.equal(client('10.0.0.1', ...xff(`9.9.9.9, ${node}`)).address, '10.0.0.1', node)
      assert.equal(client('10.0.0.1', ...xff(`9.9.9.9, ${node}, 10.0.0.2`)).address, '10.0.0.2', node)
    }
    assert.equal(
      client('10.0.0.1', ...xff('9.9.9.9, , ')).address,
      '9.9.9.9',
      'empty members of a list count for nothing',
    )
    assert.equal(client('10.0.0.1').address, '10.0.0.1')
    assert.equal(client('10.0.0.1').viaTrustedProxy, true)
  })

  test('has an address without port, brackets and zone, in one spelling', () => {
    const spellings = {
      '203.0.113.7:4711': '203.0.113.7',
      '2001:DB8:0:0::1': '2001:db8::1',
      '[2001:db8::1]': '2001:db8::1',
      '[2001:db8::1]:4711': '2001:db8::1',
      'fe80::1%eth0': 'fe80::1',
      '[fe80::1%25eth0]:80': 'fe80::1',
      '::ffff:203.0.113.7': '203.0.113.7',
      '::FFFF:cb00:7107': '203.0.113.7',
      '203.0.113.7:_port': '203.0.113.7',
    }
    for (const [spelling, address] of Object.entries(spellings)) {
      assert.equal(client('10.0.0.1', ...xff(spelling)).address, address, spelling)
    }
  })

  test('is read from Forwarded as well', () => {
    const forwarded = (value: string) => client('10.0.0.1', 'Forwarded', value)
    assert.deepEqual(forwarded('for=192.0.2.43;proto=https;host="api.example:8443"'), {
      address: '192.0.2.43',
      protocol: 'https',
      host: 'api.example:8443',
      peer: '10.0.0.1',
      viaTrustedProxy: true,
      proxies: ['10.0.0.1'],
    })
    assert.equal(forwarded('For="[2001:db8:cafe::17]:4711"').address, '2001:db8:cafe::17')
    assert.equal(forwarded('for=1.1.1.1, for=192.0.2.43 ; by=203.0.113.43, for=10.0.0.9').address, '192.0.2.43')
    assert.equal(forwarded('for=192.0.2.43:80').address, '192.0.2.43')
    assert.equal(forwarded('for="192.0.2.43\\:80"').address, '192.0.2.43')
    assert.equal(forwarded('for="a,b;for=1.1.1.1", for=192.0.2.43').address, '192.0.2.43')
    assert.equal(forwarded('for=unknown').address, '10.0.0.1')
    assert.equal(forwarded('for=_gazonk;proto=https').protocol, 'https')
    assert.equal(forwarded('proto=https').address, '10.0.0.1')
    assert.equal(forwarded(', for=192.0.2.43,').address, '192.0.2.43')
  })

  test('keeps the protocol and host that the outermost trusted proxy saw', () => {
    const two = (proto: string, host: string) =>
      client('10.0.0.1', ...xff('203.0.113.7, 10.0.0.2'), 'X-Forwarded-Proto', proto, 'X-Forwarded-Host', host)
    assert.equal(two('https', 'API.example').host, 'api.example')
    assert.equal(two('https', 'api.example').protocol, 'https')
    assert.equal(two('https, http', 'api.example, inner').protocol, 'https')
    assert.equal(two('http, https, http', 'spoofed, api.example, inner').host, 'api.example')
    assert.equal(two('http, https, http', 'spoofed, api.example, inner').protocol, 'https')
    assert.equal(two('wss', 'a').protocol, 'https')
    assert.equal(two('gopher', 'a').protocol, 'http')
  })

  test('keeps the host of the request when the forwarded one is none', () => {
    for (const host of ['evil.test/path', 'user@evil.test', 'a b', 'a"b', '', 'evil.test:99999', 'é']) {
      assert.equal(client('10.0.0.1', ...xff('203.0.113.7'), 'X-Forwarded-Host', host).host, 'gw.test:8080', host)
      const quoted = `for=203.0.113.7;host="${host.replaceAll('"', '\\"')}"`
      assert.equal(client('10.0.0.1', 'Forwarded', quoted).host, 'gw.test:8080', host)
    }
  })

  test('cannot be chosen by sending the one field that the proxy does not write', () => {
    assert.throws(() => client('10.0.0.1', ...xff('203.0.113.7'), 'Forwarded', 'for=10.0.0.99'), Problem)
    assert.throws(() => client('10.0.0.1', 'Forwarded', 'for=203.0.113.7', ...xff('1.2.3.4')), Problem)
    assert.throws(() => client('10.0.0.1', ...xff('203.0.113.7'), 'Forwarded', 'for=unknown'), Problem)
    const both = client('10.0.0.1', ...xff('203.0.113.7, 10.0.0.2'), 'Forwarded', 'for=203.0.113.7;proto=https')
    assert.equal(both.address, '203.0.113.7')
    assert.equal(both.protocol, 'https')
  })

  test('is not told from a malformed Forwarded field', () => {
    for (const value of [
      'for',
      'for=',
      'for="1.2.3.4',
      '=1.2.3.4',
      'for=1.2.3.4 for=5.6.7.8',
      'for=1.2.3.4;for=5.6.7.8',
      'for="a"b',
      'fo r=1',
    ]) {
      assert.throws(() => client('10.0.0.1', 'Forwarded', value), Problem, value)
    }
  })

  test('is told from long lists in no more time than from short ones', () => {
    const started = performance.now()
    for (let i = 0; i < 20; i++) {
      assert.equal(client('10.0.0.1', ...xff('10.0.0.2, '.repeat(1_000))).proxies?.length, 32)
      assert.equal(client('10.0.0.1', ...xff(','.repeat(10_000))).address, '10.0.0.1')
      assert.equal(client('10.0.0.1', 'Forwarded', 'for=10.0.0.2;a="\\"\\"",'.repeat(500)).proxies?.length, 32)
      assert.throws(() => client('10.0.0.1', 'Forwarded', `for="${'\\a'.repeat(5_000)}`), Problem)
    }
    assert.ok(performance.now() - started < 2_000)
  })

  test('has a list of trusted proxies that says where it is wrong', () => {
    for (const network of [
      '10.0.0.0/33',
      '10.0.0/8',
      'localhost',
      '',
      '10.0.0.0/',
      '10.0.0.0/8/8',
      'fd00::/129',
      '10.0.0.0/-1',
      'fe80::1%eth0',
      '*',
    ]) {
      assert.throws(() => createClientReader([network]), TypeError, network)
    }
    assert.equal(
      createClientReader(['0.0.0.0/0'])('8.8.8.8', false, createFields(xff('1.1.1.1, 8.8.4.4'))).address,
      '1.1.1.1',
    )
  })

  test('has no address when the socket is gone', () => {
    assert.equal(read(undefined, false, createFields(xff('1.2.3.4'))).viaTrustedProxy, false)
  })
})

describe('what the service is told', () => {
  test('names the peer alone when no proxy is trusted', () => {
    assert.deepEqual(
      forwardedFields(
        createClientReader([])('192.0.2.1', false, createFields(['Host', 'gw.test:8080', ...xff('6.6.6.6')])),
        '/orders',
      ),
      [
        ...['X-Forwarded-For', '192.0.2.1', 'X-Forwarded-Host', 'gw.test:8080', 'X-Forwarded-Proto', 'http'],
        ...['X-Forwarded-Prefix', '/orders', 'Forwarded', 'for=192.0.2.1;proto=http;host="gw.test:8080"'],
      ],
    )
  })

  test('names the chain from the client on, and nothing an untrusted party claimed', () => {
    const lines = forwardedFields(
      client('10.0.0.1', ...xff('6.6.6.6, 2001:db8::7, 10.0.0.2'), 'X-Forwarded-Host', 'a.example'),
    )
    assert.deepEqual(lines, [
      ...[
        'X-Forwarded-For',
        '2001:db8::7, 10.0.0.2, 10.0.0.1',
        'X-Forwarded-Host',
        'a.example',
        'X-Forwarded-Proto',
        'http',
      ],
      ...['Forwarded', 'for="[2001:db8::7]";proto=http;host=a.example, for=10.0.0.2, for=10.0.0.1'],
    ])
  })

  test('can be read by the next gateway, which then finds the same client', () => {
    const first = client(
      '10.0.0.1',
      ...xff('2001:db8::7, 10.0.0.2'),
      'X-Forwarded-Proto',
      'https',
      'X-Forwarded-Host',
      '[::1]:8443',
    )
    const second = read('127.0.0.1', false, createFields(['Host', 'inner', ...forwardedFields(first)]))
    assert.equal(second.address, first.address)
    assert.equal(second.protocol, 'https')
    assert.equal(second.host, '[::1]:8443')
    assert.deepEqual(second.proxies, ['10.0.0.2', '10.0.0.1', '127.0.0.1'])
  })

  test('says unknown where nothing is known', () => {
    const lines = forwardedFields(read(undefined, false, createFields([])))
    assert.deepEqual(lines, [
      'X-Forwarded-For',
      'unknown',
      'X-Forwarded-Proto',
      'http',
      'Forwarded',
      'for=unknown;proto=http',
    ])
  })
})
