import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { returnPath } from '../../src/http/return-path.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'

const origin = 'https://gateway.example'

describe('where a browser is sent back to', () => {
  test('a path of the gateway, with query and fragment', () => {
    for (const path of [
      '/',
      '/docs',
      '/a/b?c=d&e=%2F%2F#f',
      '/a//b',
      '/@evil.example',
      '/%5Cevil.example',
      '/%09/evil',
    ])
      assert.equal(returnPath(path, origin), path)
    assert.equal(returnPath('/a/../b/./c', origin), '/b/c')
  })

  test('and nothing else', () => {
    const others = [
      undefined,
      ...['', 'docs', '?a', '#a', '//evil.example', '///evil.example', '/\\evil.example', '\\/evil.example'],
      ...['/\t/evil.example', '/\n/evil.example', '/a\\b', ' /docs', '/docs ', '/dócs', '/\u0000'],
      ...['https://evil.example', 'https:evil.example', 'javascript:alert(1)', `${origin}/docs`],
      ...[
        '/..//evil.example',
        '/.//evil.example',
        '/a/..//evil.example',
        '/%2e%2e//evil.example',
        '/%2e//evil.example',
      ],
      `/${'a'.repeat(1_024)}`,
    ]
    for (const text of others) assert.equal(returnPath(text, origin), undefined, JSON.stringify(text))
  })

  test('279 known ways to lead elsewhere do not, however often they are decoded', { skip: skipWithoutShared }, () => {
    const cases: { s: string }[] = vectors('open-redirects.json').cases
    assert.equal(cases.length, 279)
    for (const { s } of cases) {
      for (const text of [s, decoded(s), decoded(decoded(s)), `/${s}`, decoded(`/${s}`)]) {
        const path = returnPath(text, origin)
        if (path === undefined) continue
        for (const base of [`${origin}/login/callback`, `${origin}/`])
          assert.equal(new URL(path, base).origin, origin, `${s} → ${path}`)
      }
    }
  })
})

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
