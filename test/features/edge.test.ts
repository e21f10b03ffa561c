import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { startBackend } from '../http/front.ts'
import { exchange } from '../http/raw.ts'
import { faults, type RequestCase, wanted } from '../http/verdicts.ts'
import { eventually, startGateway } from '../sallyport.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'

/** The whole gateway against the raw requests of the shared vectors; `test/http` runs them against the guard alone. */
describe('the edge of the whole gateway', { skip: skipWithoutShared }, () => {
  test('ends every raw request as it must, one hundred of one hundred', async () => {
    const { cases } = vectors('http-requests.json') as { cases: RequestCase[] }
    const backend = await startBackend()
    const target = `http://127.0.0.1:${backend.port}`
    const services = [
      { name: 'all', path: '/', targets: [target], openapi: false, security: [], breaker: { failures: 1_000 } },
    ]
    await using gateway = await startGateway({ services })
    const port = Number(new URL(gateway.url).port)
    const broken: string[] = []
    for (const { id, title, verdict, bytes_b64 } of cases) {
      backend.received.length = 0
      const expected = verdict === 'one' || verdict === 'two' ? wanted[verdict] : 0
      const final = (statuses: readonly number[]) =>
        statuses.filter((status) => status >= 200).length >= Math.max(expected, 1)
      const { statuses, closed } = await exchange(port, Buffer.from(bytes_b64, 'base64'), final, 150)
      if (expected > 0)
        await eventually('the backend has them', () => backend.received.length >= expected, 1_000).catch(() => {})
      const found = faults(verdict, { statuses, closed, received: [...backend.received] })
      if (backend.received.some(({ raw }) => raw.includes('admin'))) found.push('a spoofed value was forwarded')
      if (found.length > 0) broken.push(`${id} ${title}: ${found.join(', ')}`)
    }
    backend.close()
    assert.deepEqual(broken, [])
    assert.equal(cases.length, 100)
  })
})
