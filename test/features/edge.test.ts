import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { Agent } from 'node:http'
import { describe, test } from 'node:test'
import { positions, sendAlias } from '../http/aliases.ts'
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

  test('lets no made-up identity through, under any alias, in any position, on any kind of route', async () => {
    const { cases } = vectors('identity-header-aliases.json') as { cases: { id: string; header: string }[] }
    assert.equal(cases.length, 95)
    const key = 'a-key-for-tests'
    const keys = [{ sha256: createHash('sha256').update(key).digest('hex'), subject: 'ada' }]
    const kinds = {
      open: { security: [], who: ['anonymous'] },
      guests: { security: [{ key: [] }, {}], who: ['anonymous'] },
      guarded: { security: [{ key: [] }], who: ['ada'], more: ['X-API-Key', key] },
    } as const
    const backend = await startBackend()
    const agent = new Agent({ keepAlive: true, maxSockets: 8 })
    try {
      await using gateway = await startGateway({
        securitySchemes: { key: { type: 'apiKey', in: 'header', name: 'X-API-Key', keys } },
        services: Object.entries(kinds).map(([name, { security }]) => ({
          ...{ name, path: `/${name}`, targets: [`http://127.0.0.1:${backend.port}`], openapi: false },
          ...{ stripPath: false, security },
        })),
      })
      const port = Number(new URL(gateway.url).port)
      const sent = Object.entries(kinds).flatMap(([kind, { who, ...rest }]) =>
        cases.flatMap(({ id, header }) =>
          positions.map((position) => ({ ...rest, who, header, position, path: `/${kind}/${id}/${position}` })),
        ),
      )
      const statuses = await Promise.all(sent.map((one) => sendAlias({ port, agent, ...one })))
      const received = new Map(backend.received.map((one) => [one.url, one]))
      const broken: string[] = []
      for (const [index, { path, header, position, who }] of sent.entries()) {
        const one = received.get(path)
        // A name with an underscore is a name that two readers read differently: refused, not taken off.
        const refused = header.includes('_') && position !== 'trailer'
        if (statuses[index] !== (refused ? 400 : 200) || (one === undefined) !== refused)
          broken.push(`${path} ${header}: ${statuses[index]}`)
        if (!one) continue
        const values = one.raw.filter((_, at) => at % 2 === 1 && one.raw[at - 1]!.toLowerCase() === 'user-id')
        if (one.raw.includes('admin') || one.trailers.length > 0) broken.push(`${path} ${header} reached the service`)
        if (values.join() !== who.join()) broken.push(`${path} ${header}: named ${values}`)
      }
      assert.deepEqual(broken, [])
    } finally {
      agent.destroy()
      backend.close()
    }
  })
})
