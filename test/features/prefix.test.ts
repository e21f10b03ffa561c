import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { startBackend } from '../backend.ts'
import { startGateway } from '../sallyport.ts'

const key = 'a key of the operator'
const sha256 = createHash('sha256').update(key).digest('hex')

test('a service sees what follows its path, however the path was spelled', async () => {
  await using backend = await startBackend()
  await using gateway = await startGateway({
    services: [
      { name: 'bookings', path: '/bookings', targets: [backend.url], openapi: false, security: [] },
      { name: 'mine', path: '/v1/@me', targets: [backend.url], openapi: false, security: [] },
    ],
  })
  // U+212A, the sign of Kelvin, is k in lower case.
  for (const spelling of ['/bookings', '/BOOKINGS', '/boo%E2%84%AAings', '/v1/@me', '/V1/%40me', '/v1/%40ME']) {
    for (const [below, expected] of [
      ['', '/'],
      ['/', '/'],
      ['/today', '/today'],
      ['/today/?full=1', '/today/?full=1'],
    ] as const) {
      const answer = await fetch(gateway.url + spelling + below)
      assert.equal(answer.status, 200, spelling + below)
      assert.equal(backend.received.at(-1)!.url, expected, spelling + below)
    }
  }
})

test('no spelling of its path makes a service see another path than the one that was decided about', async () => {
  await using backend = await startBackend()
  await using gateway = await startGateway({
    securitySchemes: {
      apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key', keys: [{ sha256, subject: 'operator' }] },
    },
    services: [
      {
        name: 'users',
        path: '/@/u',
        targets: [backend.url],
        openapi: false,
        security: [],
        routes: [{ match: '/u/*', security: [{ apiKey: [] }] }],
      },
    ],
  })
  assert.equal((await fetch(`${gateway.url}/@/u/u/secret`)).status, 401)
  // As many characters as the path has end in the middle of this one.
  assert.equal((await fetch(`${gateway.url}/%40/u/secret`)).status, 200)
  assert.equal(backend.received.at(-1)!.url, '/secret')
})
