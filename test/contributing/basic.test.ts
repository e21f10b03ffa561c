import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { KeyRing } from '../../src/authentication/key-ring.ts'
import { createFields } from '../../src/http/fields.ts'
import type { RequestHead } from '../../src/http/request-head.ts'
import { createBasicAuthenticator } from './basic.ts'

const clock = 1_790_000_000
const ring: KeyRing = {
  recognizes: () => false,
  find(text) {
    if (text === 'out') throw new Error('the store is gone')
    if (text !== 'good' && text !== 'old') return { outcome: 'refused', reason: 'unknown' }
    const holder = { id: text, subject: 'billing', roles: ['service'], permissions: [], scopes: [], cidrs: [] }
    return { outcome: 'known', holder: { ...holder, expires: text === 'old' ? clock : clock + 1 } }
  },
}
const authenticator = createBasicAuthenticator({ scheme: 'basic', ring, now: () => clock * 1000 })

describe('the authenticator that CONTRIBUTING.md works through', () => {
  for (const [sent, expected] of [
    [undefined, 'absent'],
    ['Bearer token', 'absent'],
    [basic('good:'), 'accepted'],
    [basic('good:secret'), 'password'],
    [basic('other:'), 'unknown'],
    [basic('old:'), 'expired'],
    [basic('out:'), 'store-unavailable'],
    ['Basic ?', 'malformed'],
  ] as const) {
    test(`${sent ?? 'nothing'} is ${expected}`, async () => {
      const answer = await authenticator.authenticate(headWith(sent))
      assert.equal(answer.outcome === 'rejected' ? answer.reason : answer.outcome, expected)
      if (answer.outcome === 'accepted') assert.equal(answer.caller.subject, 'billing')
    })
  }
})

test('CONTRIBUTING.md shows it word for word', () => {
  const source = readFileSync(join(import.meta.dirname, 'basic.ts'), 'utf8')
  const shown = source.replaceAll("'../../src/authentication/", "'./").replaceAll("'../../src/http/", "'../http/")
  const guide = readFileSync(join(import.meta.dirname, '..', '..', 'CONTRIBUTING.md'), 'utf8')
  assert.ok(guide.includes(`\`\`\`ts\n${shown}\`\`\``))
})

function basic(text: string): string {
  return `Basic ${Buffer.from(text).toString('base64')}`
}

function headWith(authorization: string | undefined): RequestHead {
  return {
    id: 'request-1',
    method: 'GET',
    target: '/',
    path: '/',
    query: '',
    fields: createFields(authorization === undefined ? [] : ['Authorization', authorization]),
    client: { address: '192.0.2.1', protocol: 'https', host: 'api.example', peer: '192.0.2.1', viaTrustedProxy: false },
  }
}
