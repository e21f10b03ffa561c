import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { verify } from '../../src/cli/verify/verify.ts'
import { loadDefinition } from '../../src/config/load.ts'
import { startBackend } from '../backend.ts'
import { corpus } from '../openapi/corpus.ts'
import { sharedPath, skipWithoutShared } from '../vectors.ts'

const securitySchemes = {
  bearer: { type: 'http', scheme: 'bearer' },
  oauth2: { type: 'oauth2' },
  apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
  keyInQuery: { type: 'apiKey', in: 'query', name: 'gateway_key' },
  session: { type: 'apiKey', in: 'cookie', name: '__Host-sallyport', session: { issuer: 'local' } },
}

/** By turns, so that every scheme meets thousands of operations, alone and together with others. */
const securities = [
  [{ bearer: [] }],
  [{ apiKey: [] }, { session: [] }],
  [{ keyInQuery: [], bearer: [] }],
  [{ oauth2: [] }, {}],
]

test('the whole corpus, mounted as services: the page is authenticated at every operation, and nobody else', {
  skip: skipWithoutShared,
}, async () => {
  await using backend = await startBackend((req, res) => res.end(readFileSync(sharedPath('corpus', req.url!.slice(1)))))
  const services = corpus().map(({ file, name }, index) => ({
    name,
    path: `/${name}`,
    targets: [backend.url],
    openapi: `/${file}`,
    expose: 'documented',
    security: securities[index % securities.length],
  }))
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-verify-'))
  try {
    const config = join(folder, 'services.json')
    const issuers = { local: { type: 'embedded', grants: ['authorization_code', 'refresh_token'] } }
    await writeFile(config, JSON.stringify({ store: { type: 'memory' }, issuers, securitySchemes, services }))
    const verification = await verify(await loadDefinition(config, {}), { config, now: Date.now })
    assert(verification.outcome === 'verified', JSON.stringify(verification))
    const { failures, operations, authenticated } = verification.report
    // A parameter of style "matrix" is written with ";", and no path with one passes the gateway (docs/decisions/0008).
    const unanswerable = failures.filter(({ operation }) => operation.includes('/path/matrix/'))
    assert.deepEqual(
      unanswerable.map(({ kind }) => kind),
      ['unreachable', 'unreachable'],
    )
    assert.deepEqual(
      failures.filter((failure) => !unanswerable.includes(failure)),
      [],
    )
    assert(
      operations > 3_000 && authenticated > 3_000,
      `${operations} operations, ${authenticated} times authenticated`,
    )
  } finally {
    await rm(folder, { recursive: true })
  }
})
