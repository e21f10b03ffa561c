import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { RawConnection, rawGet } from '../../bench/load/connection.ts'
import { peerFlags } from '../../bench/peers.ts'
import { startSallyport } from '../../bench/sallyport.ts'
import { Subject } from '../../bench/subject.ts'
import { freePort } from '../free-port.ts'

/** Far above what `npm run bench` finds: it catches what doubles the cost of a request, not a percent. */
const most = 3
const rounds = 5
const requests = 2_000

/**
 * The guard of bench/results: the processor time of a request through the gateway, beside the best reverse proxy that
 * we can write without it. Both work at the same time, so that whatever else the machine does falls on both; and what
 * is compared is processor time, not the clock.
 */
test('a request costs no more than three times the best bare proxy', {
  skip: process.platform !== 'linux' && 'processor time is read from /proc',
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-hot-path-'))
  t.after(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }))
  const answer = JSON.stringify({ text: 'x'.repeat(1_000) })
  const backend = createServer((_req, res) => {
    res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': answer.length }).end(answer)
  })
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    backend.closeAllConnections()
    backend.close()
  })
  const target = `http://127.0.0.1:${(backend.address() as AddressInfo).port}`

  const port = await freePort()
  const bare = await Subject.launch({
    ...{ name: 'bare', command: process.execPath, port, output: join(folder, 'bare.log'), cores: undefined },
    words: [...peerFlags, join(import.meta.dirname, '../../bench/peers/best-bare.mjs'), String(port), target],
  })
  t.after(() => bare.stop())
  const service = { name: 'plain', path: '/plain', targets: [target], openapi: false, security: [] }
  const gateway = await startSallyport({
    name: 'gateway',
    folder,
    cores: undefined,
    definition: { services: [service] },
  })
  t.after(() => gateway.stop())

  const costs = async (count: number) => {
    const before = [gateway.work(), bare.work()] as const
    await Promise.all([ask(`${gateway.url}/plain/x`, count), ask(`${bare.url}/x`, count)])
    return { gateway: (gateway.work() - before[0]) / count, bare: (bare.work() - before[1]) / count }
  }
  // What is hot has been compiled then.
  await costs(2 * requests)
  const ratios: number[] = []
  for (let round = 0; round < rounds; round += 1) {
    const cost = await costs(requests)
    ratios.push(cost.gateway / cost.bare)
    if (Math.min(...ratios) <= most) break
  }
  t.diagnostic(`ratios: ${ratios.map((ratio) => ratio.toFixed(2)).join(', ')}`)
  assert(Math.min(...ratios) <= most, `a request costs ${Math.min(...ratios).toFixed(2)} times the best bare proxy`)
})

/** So many requests over sixteen connections, each of which sends the next when it has its answer. */
async function ask(address: string, count: number): Promise<void> {
  const url = new URL(address)
  const request = rawGet(url, {})
  const done = Promise.withResolvers<void>()
  let sent = 0
  let answered = 0
  const connections = await Promise.all(
    Array.from({ length: 16 }, async () => {
      const connection: RawConnection = await RawConnection.open(
        Number(url.port),
        () => {
          answered += 1
          if (answered === count) done.resolve()
          else if (sent < count) {
            sent += 1
            connection.send(request)
          }
        },
        done.reject,
      )
      return connection
    }),
  )
  for (const connection of connections) {
    sent += 1
    connection.send(request)
  }
  await done.promise
  for (const connection of connections) connection.close()
}
