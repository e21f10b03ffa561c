import { setTimeout as sleep } from 'node:timers/promises'
import type { Tally } from './client.ts'
import { type Check, type Ground, noneFailed } from './ground.ts'

/** One of two backends is killed with -9 under 1,000 GETs a second, and started again, several times. */
export async function kill(ground: Ground): Promise<readonly Check[]> {
  const times = ground.length ?? 10
  const origins = [await ground.origin(), await ground.origin()]
  const { subject } = await ground.gateway('kill', {
    services: [
      {
        ...{ name: 'open', path: '/open', openapi: false, security: [] },
        targets: origins.map(({ url }) => url),
      },
    ],
  })
  const client = ground.client()
  await client.ask('begin', {
    streams: [{ name: 'good', url: `${subject.url}/open/`, perSecond: 1_000, connections: 64 }],
  })
  await sleep(500)
  const tallies: Tally[] = []
  for (let n = 0; n < times; n += 1) {
    const which = n % 2
    await origins[which]!.process.kill()
    await sleep(1_000)
    origins[which] = await ground.origin(origins[which]!.port)
    await sleep(1_000)
    tallies.push(...(await client.ask<Tally[]>('turn')))
  }
  tallies.push(...(await client.ask<Tally[]>('end')))
  const longest = Math.max(...tallies.map((tally) => tally.longest))
  return [
    noneFailed(`GETs lost while a backend was killed ${times} times`, tallies),
    { what: 'longest wait', found: `${longest} ms`, wanted: '≤ 2,000 ms', good: longest <= 2_000 },
  ]
}
