import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { looksLikeJwt, parseStrictJwt } from '../../src/authentication/strict-jwt.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'

const encode = (text: string | Buffer) => Buffer.from(text as string).toString('base64url')
const header = encode('{"alg":"RS256","typ":"at+jwt","kid":"k1"}')
const token = (claims: string | Buffer, head = header) => `${head}.${encode(claims)}.c2ln`
const verdict = (text: string) => {
  const parsed = parseStrictJwt(text)
  return parsed.outcome === 'malformed' ? parsed.reason : 'parsed'
}

describe('the strict parser of tokens', () => {
  test('reads header and claims of a well-formed token', () => {
    const parsed = parseStrictJwt(token('{"iss":"https://issuer.test","a":{"b":[1,2,{"c":"d:e"}]}}'))
    assert.deepEqual(parsed, {
      outcome: 'parsed',
      header: { alg: 'RS256', typ: 'at+jwt', kid: 'k1' },
      claims: { iss: 'https://issuer.test', a: { b: [1, 2, { c: 'd:e' }] } },
      unlisted: [],
    })
  })

  test('refuses a token of 8,193 characters before decoding it, and reads one of 8,192', () => {
    const bare = token('{"a":""}')
    const filler = (length: number) => {
      // base64url takes 3 bytes in 4 characters; the signature makes up the rest.
      const claims = encode(`{"a":"${'x'.repeat(3_000)}"}`)
      return `${header}.${claims}.${'A'.repeat(length - header.length - claims.length - 2)}`
    }
    assert.ok(bare.length < 8_192)
    assert.equal(verdict(filler(8_192)), 'parsed')
    assert.equal(verdict(filler(8_193)), 'size')
  })

  for (const [title, text, reason] of [
    ['two parts', `${header}.e30`, 'parts'],
    ['four parts', `${header}.e30.c2ln.c2ln`, 'parts'],
    ['a JWE of five parts', `${header}.a.a.a.a`, 'encrypted'],
    ['no signature', `${header}.e30.`, 'unsigned'],
    ['padding', `${header}=.e30.c2ln`, 'encoding'],
    ['the plain base64 alphabet', `${header}.e30.c2+n`, 'encoding'],
    ['a space inside', `${header}. e30.c2ln`, 'encoding'],
    ['a line break at the end', `${header}.e30.c2ln\n`, 'encoding'],
    ['a length no encoding has', `${header}.e30.c2lnA`, 'encoding'],
    ['unused bits that are not zero', `${header}.e30.c2l`, 'encoding'],
    ['the JSON serialization', '{"payload":"e30","signatures":[]}', 'parts'],
    ['nothing at all', '', 'parts'],
  ] as const) {
    test(`refuses ${title}`, () => assert.equal(verdict(text), reason))
  }

  test('knows one spelling of each signature: of four last characters with the same bytes, one is read', () => {
    const accepted = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'].filter(
      (last) => verdict(`${header}.e30.c2${last}`) === 'parsed',
    )
    assert.equal(accepted.join(''), 'AEIMQUYcgkosw048')
  })

  for (const [title, claims, reason] of [
    ['a claim that stands twice', '{"sub":"a","sub":"b"}', 'duplicate-member'],
    ['a claim that stands twice in another spelling', '{"sub":"a","\\u0073ub":"b"}', 'duplicate-member'],
    ['equal members deep inside', '{"a":[{"b":{"c":1,"c":1}}]}', 'duplicate-member'],
    ['__proto__ as a claim', '{"__proto__":{"admin":true}}', 'json'],
    ['__proto__ deep inside', '{"a":[{"\\u005f_proto__":1}]}', 'json'],
    ['a number without end', '{"exp":1e400}', 'json'],
    ['a lone surrogate', '{"sub":"\\ud800"}', 'json'],
    ['a lone surrogate in a name', '{"\\udfff":1}', 'json'],
    ['a byte order mark', '\ufeff{"sub":"a"}', 'json'],
    ['an array', '[]', 'json'],
    ['a string', '"sub"', 'json'],
    ['null', 'null', 'json'],
    ['nothing', '', 'json'],
    ['something after the object', '{}{}', 'json'],
    ['a comment', '{/**/}', 'json'],
    ['17 levels', `${'{"a":'.repeat(17)}1${'}'.repeat(17)}`, 'nesting'],
    ['17 levels of lists', `{"a":${'['.repeat(16)}${']'.repeat(16)}}`, 'nesting'],
    ['5,000 levels', `{"a":${'['.repeat(2_500)}${']'.repeat(2_500)}}`, 'nesting'],
  ] as const) {
    test(`refuses claims with ${title}`, () => {
      const text = token(claims)
      // The best of five, because whatever else runs on the machine takes its time in between.
      const times = Array.from({ length: 5 }, () => {
        const started = performance.now()
        assert.equal(verdict(text), reason)
        return performance.now() - started
      })
      assert.ok(Math.min(...times) < 50)
    })
  }

  test('reads 16 levels, and strings full of colons and quotes', () => {
    assert.equal(verdict(token(`${'{"a":'.repeat(16)}1${'}'.repeat(16)}`)), 'parsed')
    assert.equal(verdict(token('{"a":":\\":\\\\","b:\\"":[":",{"c":"::"}]}')), 'parsed')
  })

  test('has no claims from the prototype', () => {
    const parsed = parseStrictJwt(token('{"constructor":{"prototype":{"admin":true}}}'))
    assert.equal(parsed.outcome, 'parsed')
    assert.equal(({} as { admin?: boolean }).admin, undefined)
  })

  test('refuses bytes that are not UTF-8, in claims and header', () => {
    const broken = Buffer.concat([Buffer.from('{"sub":"'), Buffer.from([0xc3, 0x28]), Buffer.from('"}')])
    const surrogate = Buffer.concat([Buffer.from('{"sub":"'), Buffer.from([0xed, 0xa0, 0x80]), Buffer.from('"}')])
    assert.equal(verdict(token(broken)), 'utf-8')
    assert.equal(verdict(token(surrogate)), 'utf-8')
    assert.equal(verdict(token('{}', encode(broken))), 'utf-8')
  })

  for (const [title, head, reason] of [
    ['crit', '{"alg":"RS256","crit":["exp"]}', 'header-parameter'],
    ['b64', '{"alg":"RS256","b64":false}', 'header-parameter'],
    ['zip', '{"alg":"RS256","zip":"DEF"}', 'header-parameter'],
    ['jwk', '{"alg":"RS256","jwk":{}}', 'header-parameter'],
    ['x5c', '{"alg":"RS256","x5c":[]}', 'header-parameter'],
    ['enc', '{"alg":"RS256","enc":"A128GCM"}', 'header-parameter'],
    ['cty', '{"alg":"RS256","cty":"JWT"}', 'header-parameter'],
    ['alg as a list', '{"alg":["RS256"]}', 'header-parameter'],
    ['no alg', '{"kid":"k1"}', 'header-parameter'],
    ['kid as a number', '{"alg":"RS256","kid":1}', 'header-parameter'],
    ['kid as a list', '{"alg":"RS256","kid":["k1"]}', 'header-parameter'],
    ['kid null', '{"alg":"RS256","kid":null}', 'header-parameter'],
    ['typ as a list', '{"alg":"RS256","typ":["JWT"]}', 'header-parameter'],
    ['alg twice', '{"alg":"RS256","alg":"none"}', 'duplicate-member'],
    ['kid twice', '{"alg":"RS256","kid":"a","kid":"a"}', 'duplicate-member'],
    ['__proto__', '{"alg":"RS256","__proto__":{}}', 'json'],
  ] as const) {
    test(`refuses a header with ${title}`, () => assert.equal(verdict(token('{}', encode(head))), reason))
  }

  test('takes no notice of where a header says that keys lie, and reports parameters nobody knows', () => {
    const parsed = parseStrictJwt(
      token('{}', encode('{"alg":"RS256","jku":"https://evil.test","x5u":1,"x5t":"a","cat":"x","toString":1}')),
    )
    assert.equal(parsed.outcome, 'parsed')
    assert.deepEqual(parsed.outcome === 'parsed' && parsed.unlisted, ['cat', 'toString'])
  })

  test('tells what means to be a JWT from opaque tokens', () => {
    for (const jwt of [token('{}'), `${header}.e30.`, `${header}. .x`, `${header}.a.b.c.d`])
      assert.ok(looksLikeJwt(jwt), jwt)
    for (const opaque of ['abc', 'v1.local.abc', '2YotnFZFEjr1zCsicMWpAA', 'eyJhbGciOiJSUzI1NiJ9', 'ey.x']) {
      assert.ok(!looksLikeJwt(opaque), opaque)
    }
  })

  test('reads back whatever JSON object JSON.stringify can write', () => {
    const value = fc.jsonValue({ maxDepth: 5 })
    fc.assert(
      fc.property(fc.dictionary(fc.string({ unit: 'grapheme' }), value, { maxKeys: 6 }), (claims) => {
        const text = JSON.stringify(claims)
        const parsed = parseStrictJwt(token(text))
        if (parsed.outcome === 'malformed') {
          assert.ok(
            parsed.reason === 'size' || text.includes('__proto__') || !text.isWellFormed() || /\\ud[89a-f]/i.test(text),
          )
        } else assert.deepEqual(parsed.claims, JSON.parse(text))
      }),
      { numRuns: 500 },
    )
  })

  test('never throws, whatever the text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 300 }), (text) => {
        assert.notEqual(parseStrictJwt(text), undefined)
        parseStrictJwt(token(text))
        parseStrictJwt(token('{}', encode(text)))
      }),
      { numRuns: 500 },
    )
  })
})

describe('JSONTestSuite, each case as the claims of a token', { skip: skipWithoutShared }, () => {
  // Objects that JSON allows and tokens must not be: refused here although the suite says "y".
  const stricter = new Map([
    ['y_object_duplicated_key.json', 'duplicate-member'],
    ['y_object_duplicated_key_and_value.json', 'duplicate-member'],
  ])
  const cases = skipWithoutShared ? [] : vectors('json-test-suite.json').cases
  let asked = 0
  for (const { id, expect, bytes_b64 } of cases as { id: string; expect: 'y' | 'n' | 'i'; bytes_b64: string }[]) {
    test(id, () => {
      asked += 1
      const bytes = Buffer.from(bytes_b64, 'base64')
      // Most cases are arrays: wrapped into an object they can be claims. What breaks JSON breaks it inside as well.
      const wrapped = Buffer.concat([Buffer.from('{"a":'), bytes, Buffer.from('}')])
      const bare = verdict(token(bytes))
      const inside = verdict(token(wrapped))
      if (expect === 'n') {
        assert.notEqual(bare, 'parsed')
        // A case that is only a fragment can complete the wrapper by chance; then the bare form has to be enough.
        if (!isValidJson(wrapped)) assert.notEqual(inside, 'parsed')
      } else if (expect === 'y') {
        assert.equal(inside, stricter.get(id) ?? 'parsed')
      } else {
        assert.ok(inside.length > 0)
      }
    })
  }
  test('every case was asked', () => assert.equal(asked, cases.length))
})

function isValidJson(bytes: Buffer): boolean {
  try {
    JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
    return true
  } catch {
    return false
  }
}
