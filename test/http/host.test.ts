import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isHost } from '../../src/http/host.ts'

test('a host is a name or an address with an optional port', () => {
  for (const host of [
    'gw.test',
    'GW.test:8080',
    'my_service:80',
    'localhost',
    '10.0.0.1:1',
    '[::1]',
    '[2001:db8::1]:65535',
    'a.b.',
    'x:0',
  ]) {
    assert.ok(isHost(host), host)
  }
})

test('a host is nothing else', () => {
  for (const host of [
    ...[
      '',
      ' ',
      'a b',
      'a,b',
      'user@a',
      'a/b',
      'a:',
      'a:x',
      'a:99999',
      'a:65536',
      'a:000080',
      'a:80:80',
      ':80',
      'a?b',
      'a#b',
      'a\\b',
    ],
    ...[
      '::1',
      '[::1',
      '[::1]x',
      '[::1]:',
      '[1.2.3.4]',
      '[fe80::1%25eth0]',
      '[]',
      '[a]',
      'é',
      'a%41',
      'a;b',
      'a"b',
      'a'.repeat(254),
    ],
  ]) {
    assert.equal(isHost(host), false, host)
  }
})
