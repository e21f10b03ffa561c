import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { canonicalTarget, decodeSegment, encodeSegment, joinTarget, targetLimits } from '../../src/http/path.ts'
import { Problem } from '../../src/http/problem.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'

const host = 'gw.test'

function accepted(raw: string): { path: string; query: string } {
  const target = canonicalTarget(raw, host)
  assert.ok(!(target instanceof Problem), `${raw} was refused: ${target instanceof Problem ? target.detail : ''}`)
  return target
}

function refused(raw: string): Problem {
  const target = canonicalTarget(raw, host)
  assert.ok(target instanceof Problem, `${raw} was accepted as ${JSON.stringify(target)}`)
  return target
}

describe('the canonical target', () => {
  test('leaves a clean target as it is', () => {
    for (const path of [
      '/',
      '/orders',
      '/orders/',
      '/orders/1',
      '/ORDERS/a.b~c_d-e',
      "/a!$&'()*+,=:@b",
      '/.well-known/x',
      '/...',
      '/a..b',
      '/.env',
    ]) {
      assert.deepEqual(accepted(path), { path, query: '' })
    }
  })

  test('splits at the first question mark and leaves the query untouched', () => {
    assert.deepEqual(accepted('/a?b=c?d'), { path: '/a', query: 'b=c?d' })
    assert.deepEqual(accepted('/a?'), { path: '/a', query: '' })
    assert.deepEqual(accepted('/?next=//evil/../%2e%zz;"<>|{}^`\\[]'), {
      path: '/',
      query: 'next=//evil/../%2e%zz;"<>|{}^`\\[]',
    })
    assert.deepEqual(accepted('/%61?%61'), { path: '/a', query: '%61' })
  })

  test('decodes unreserved characters only, and writes the digits of other escapes in capitals', () => {
    assert.equal(accepted('/%61dmin').path, '/admin')
    assert.equal(accepted('/%41%7e%5F%2d').path, '/A~_-')
    assert.equal(accepted('/caf%c3%a9').path, '/caf%C3%A9')
    assert.equal(accepted('/a%20b%3ac%3F%23').path, '/a%20b%3Ac%3F%23')
    assert.equal(accepted('/100%25').path, '/100%25')
    assert.equal(accepted('/%f0%9f%91%a9%e2%80%8d%f0%9f%91%a7').path, '/%F0%9F%91%A9%E2%80%8D%F0%9F%91%A7')
  })

  const ambiguous: Record<string, readonly string[]> = {
    'empty segments': ['//', '//admin', '/a//b', '/a//', '//evil.test/x'],
    'dot segments however spelled': [
      ...['/.', '/..', '/a/.', '/a/..', '/a/../b', '/./a', '/%2e', '/%2E%2e/a', '/.%2e/a', '/%2e./a', '/a/%2e'],
    ],
    'dot segments with parameters': ['/..;/a', '/..;x=y/a', '/.;/a', '/%2e%2e;/a'],
    semicolons: ['/admin;a=b', '/admin%3b', '/admin%3Ba', '/;@evil.test'],
    'escaped separators': ['/a%2fb', '/a%2Fb', '/a%5cb', '/%5c%5cevil.test', '/..%2f..'],
    'escaped controls': ['/%00', '/a%0a', '/a%0D%0A', '/a%1f', '/a%7f', '/a%09'],
    'double escapes, also those that appear by decoding': ['/%2561', '/%252e%252e', '/%25%36%31', '/%25%32f', '/%252F'],
    'invisible characters': ['/admin%ef%bb%bf', '/a%e2%80%8b', '/a%c2%80', '/%e2%80%a8', '/%e2%81%a0'],
    'look-alikes of dots and slashes':
      '/%ef%bc%8e%ef%bc%8e/a /.%ef%bc%8e /%e2%80%a5/a /a%ef%bc%8fb /a%ef%bc%bcb /%e2%84%80'.split(' '),
  }
  for (const [what, targets] of Object.entries(ambiguous)) {
    test(`refuses ${what}`, () => {
      for (const target of targets) assert.equal(refused(target).code, 'ambiguous-target', target)
    })
  }

  const malformed: Record<string, readonly string[]> = {
    'what may not stand in a path': [
      '/a b',
      '/a\tb',
      '/a\0',
      '/a\x7f',
      '/é',
      '/．．/a',
      '/a\\b',
      '/a#b',
      '/a"b',
      '/a<b',
      '/a|b',
      '/a{b}',
      '/a[b]',
      '/a^b',
      '/a`b',
    ],
    'what may not stand in a query': ['/a?b c', '/a?b\tc', '/a?b\r', '/a?é', '/a?b#c', '/a?\x7f'],
    'malformed escapes': ['/%', '/a%4', '/a%zz', '/%u002e', '/%2', '/a%%41'],
    'escapes that are not UTF-8': '/%ff /%c0%ae /%c0%af /%e0%80%af /%ed%a0%80 /%c3 /%f4%90%80%80 /..%ff'.split(' '),
    'other forms than a path': [
      '',
      '*',
      'admin',
      '.evil.test',
      '\\\\evil.test',
      '#x',
      '?x',
      'gw.test:80',
      'ftp://gw.test/',
      'javascript:x',
    ],
  }
  for (const [what, targets] of Object.entries(malformed)) {
    test(`refuses ${what}`, () => {
      for (const target of targets) assert.equal(refused(target).code, 'bad-request', JSON.stringify(target))
    })
  }

  test('reduces the absolute form that names this host', () => {
    assert.deepEqual(accepted('http://gw.test/admin?x'), { path: '/admin', query: 'x' })
    assert.deepEqual(accepted('HTTPS://GW.test/a'), { path: '/a', query: '' })
    assert.deepEqual(accepted('http://gw.test'), { path: '/', query: '' })
    assert.deepEqual(accepted('http://gw.test?a=b'), { path: '/', query: 'a=b' })
    assert.equal(refused('http://gw.test//admin').code, 'ambiguous-target')
    assert.equal(refused('http://gw.test/a#b').code, 'bad-request')
  })

  test('refuses the absolute form that names another host: this is no open proxy', () => {
    for (const target of [
      ...'http://evil.test/x http://gw.test@evil.test/ http://gw.test:81/ http:///a http:// http://gw.test\\@evil.test/'.split(
        ' ',
      ),
    ]) {
      assert.equal(refused(target).code, 'misdirected-request', target)
    }
    assert.ok(canonicalTarget('http:///a', '') instanceof Problem)
  })

  test('answers a path or a query that is too long with 414', () => {
    const path = `/${'a'.repeat(targetLimits.path - 1)}`
    const query = 'q'.repeat(targetLimits.query)
    assert.deepEqual(accepted(`${path}?${query}`), { path, query })
    for (const target of [`${path}a`, `${path}a?q`, `${path}%41`, `${'/%41'.repeat(2_000)}`, `/?${query}q`]) {
      assert.equal(refused(target).status, 414)
    }
  })

  test('never says in a detail what the client sent beyond one character', () => {
    for (const target of ['/a"SECRET', '/SECRET%2f', '/SECRET?\x01', 'http://SECRET/']) {
      assert.ok(!refused(target).detail.includes('SECRET'))
    }
  })
})

describe('segments', () => {
  test('are decoded', () => {
    assert.equal(decodeSegment('a.b'), 'a.b')
    assert.equal(decodeSegment('caf%C3%A9%20%3F'), 'café ?')
  })

  test('are encoded so that the value comes back, and the path stays one', () => {
    for (const value of ['a', 'a b', 'café', '50%', 'a?b#c', "!'()*:@&=+,$", '...', '.a', '👩‍👧', 'a%zz']) {
      const path = `/x/${encodeSegment(value)}/y`
      const segments = accepted(path).path.split('/')
      assert.equal(segments.length, 4)
      assert.equal(decodeSegment(segments[2]!), value)
    }
  })

  test('refuse a value that would lead elsewhere', () => {
    for (const value of ['', '.', '..', '../admin', 'a/b', 'a\\b', 'a;b', 'a\nb', '\0', '%2e', '．．', 'a\u200b']) {
      assert.throws(() => encodeSegment(value), Problem, JSON.stringify(value))
    }
  })

  test('take any value that is no text of Unicode as replacement characters', () => {
    assert.equal(encodeSegment('a\ud800'), 'a%EF%BF%BD')
  })
})

describe('joining with the path of a backend', () => {
  test('adds exactly what is there', () => {
    assert.equal(joinTarget('', '/a', ''), '/a')
    assert.equal(joinTarget('/', '/a', 'b=c'), '/a?b=c')
    assert.equal(joinTarget('/api', '/a', ''), '/api/a')
    assert.equal(joinTarget('/api/', '/a/', ''), '/api/a/')
    assert.equal(joinTarget('/api', '', ''), '/api')
    assert.equal(joinTarget('/api/', '', 'x'), '/api/?x')
    assert.equal(joinTarget('', '', ''), '/')
    assert.equal(joinTarget('/', '', ''), '/')
  })

  test('keeps host and prefix for every target of the shared vectors', { skip: skipWithoutShared }, () => {
    const { cases } = vectors('url-join.json') as { cases: { id: string; target: string; verdict: string }[] }
    assert.equal(cases.length, 17)
    let joined = 0
    for (const { id, target: raw, verdict } of cases) {
      assert.equal(verdict, 'same-host-or-400', id)
      const target = canonicalTarget(raw, host)
      if (target instanceof Problem) {
        assert.ok(target.status === 400 || target.status === 421, id)
        continue
      }
      joined++
      const sent = joinTarget('/api', target.path, target.query)
      assert.ok(sent.startsWith('/api/'), `${id}: ${sent}`)
      // The most lenient reader there is must not read it differently.
      const url = new URL(`http://127.0.0.1:4001${sent}`)
      assert.equal(url.host, '127.0.0.1:4001', id)
      assert.equal(url.pathname + url.search, sent, id)
    }
    assert.ok(joined >= 3, 'the harmless ones are passed on, not refused')
  })
})

describe('over random targets', () => {
  const pieces = [
    ...'/ / / . .. %2e %2E %2f %2F %5c \\ ; %3b % %25 25 2e 2f 5c %32 %36%31'.split(' '),
    ...'a admin PUBLIC %41 %61 %7e - _ ~ : @ & = + , %20 %3f %23 %3a %40'.split(' '),
    ...'%c3%a9 %C3 %A9 %ff %c0%ae %ef%bc%8e %ef%bc%8f %e2%80%8b %ef%bb%bf %e3%81%82 %00 %0a %7f'.split(' '),
    ...[
      'é',
      '．',
      ' ',
      '\t',
      '\0',
      '#',
      '?',
      '|',
      '{',
      '%u002e',
      '//',
      '/../',
      '/./',
      'http://gw.test',
      'http://evil.test',
    ],
  ]
  const harmless = '/ a admin %41 %61 - : @ %20 %3f %c3%a9 %C3%A9 %e3%81%82 %25 %25 . x.y ? ='.split(' ')
  const targets = fc.oneof(
    fc.array(fc.constantFrom(...pieces), { maxLength: 10 }).map((list) => `/${list.join('')}`),
    fc.array(fc.constantFrom(...harmless), { maxLength: 12 }).map((list) => `/${list.join('')}`),
    fc.array(fc.constantFrom(...pieces), { maxLength: 6 }).map((list) => list.join('')),
    fc.string({ unit: 'binary', maxLength: 24 }).map((text) => `/${text}`),
    fc.webPath(),
  )

  test('what is accepted is canonical, unambiguous, and one path in the eyes of every backend', () => {
    let passed = 0
    fc.assert(
      fc.property(targets, (raw) => {
        const target = canonicalTarget(raw, host)
        if (target instanceof Problem) return
        passed++
        const { path, query } = target
        assert.deepEqual(
          canonicalTarget(query === '' ? path : `${path}?${query}`, host),
          target,
          'is its own canonical form',
        )
        assert.match(path, /^\/[!$&'()*+,\-./\w:=@~%]*$/)
        assert.doesNotMatch(
          path,
          /\/\/|\/\.{1,2}(?:\/|$)|[;\\?#]|%(?:[01]|2[fF]|5[cC]|7[fF]|3[bB]|25[\dA-Fa-f]{2}|(?![\dA-F]{2}))/,
        )
        assert.doesNotMatch(query, /[^!-~]|#/)

        const exact = path.split('/').map(decodeURIComponent)
        assert.deepEqual(decodeURIComponent(path).split('/'), exact, 'a backend that decodes first and splits then')
        assert.deepEqual(lenient(path), exact, 'a backend that repairs whatever it can')
      }),
      { numRuns: 20_000 },
    )
    assert.ok(passed > 2_000, `only ${passed} targets were accepted; the property says too little`)
  })

  /** Decodes until nothing changes, takes backslashes for slashes, drops parameters and controls, resolves dots, merges slashes. */
  function lenient(path: string): string[] {
    let text = path
    for (let round = 0; round < 4; round++) text = text.replace(/(?:%[\dA-Fa-f]{2})+/g, decodeOrKeep)
    const resolved: string[] = []
    const parts = text.replaceAll('\\', '/').split('/')
    for (const [index, part] of parts.entries()) {
      const bare = part.replace(/;.*$/, '').replace(/[\p{Cc}\u200b\ufeff]/gu, '')
      const folded = bare.normalize('NFKC')
      if (folded === '..') resolved.pop()
      else if (folded === '.' || (folded === '' && index > 0 && index < parts.length - 1)) continue
      else if (/[/\\]/.test(folded)) resolved.push(...folded.split(/[/\\]/))
      else resolved.push(bare)
    }
    return resolved
  }

  function decodeOrKeep(escapes: string): string {
    try {
      return decodeURIComponent(escapes)
    } catch {
      return escapes
    }
  }
})
