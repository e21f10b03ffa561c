import { readdirSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Subject } from '../subject.ts'
import type { Way } from './attackers.ts'
import type { Tally } from './client.ts'
import { type Check, type Ground, noneFailed } from './ground.ts'

const ways = [
  'slow-heads',
  'slow-bodies',
  'slow-readers',
  'header-flood',
  'connection-flood',
  'endless-bodies',
] as const satisfies readonly Way[]

interface Sight {
  readonly open: number
  readonly closed: number
  readonly refused: number
  readonly statuses: Readonly<Record<string, number>>
}

/**
 * Good traffic beside six kinds of attackers, one after the other. The same traffic goes to the service directly as
 * well: where client, attackers and service share a core, what they take from each other is seen there, and is taken
 * off before the gateway is judged.
 */
export async function attack(ground: Ground): Promise<readonly Check[]> {
  const seconds = ground.length ?? 6
  const origin = await ground.origin()
  // Attackers have a service of their own to wear out, as has everybody in a gateway.
  const plunder = await ground.origin()
  const service = { path: '/open', openapi: false, security: [], timeouts: { idle: '5s' }, limits: { body: '2mb' } }
  const { subject, adminUrl } = await ground.gateway('attack', {
    gateway: { limits: { headTimeout: '5s' } },
    services: [
      { ...service, name: 'open', targets: [plunder.url] },
      { ...service, name: 'good', path: '/good', targets: [origin.url] },
    ],
  })
  const client = ground.client()
  const attackers = ground.attackers()
  await client.ask('begin', {
    streams: [
      { name: 'gateway', url: `${subject.url}/good/`, perSecond: 300, connections: 16 },
      { name: 'direct', url: `${origin.url}/`, perSecond: 300, connections: 16 },
    ],
  })
  const lag = async () => {
    const text = await (await fetch(`${adminUrl}/metrics`)).text()
    return Math.round(Number(/^nodejs_eventloop_lag_p99_seconds (\S+)/m.exec(text)?.[1] ?? 0) * 1_000)
  }
  await sleep(2_000) // what is hot is compiled
  await client.ask('turn')
  await sleep(seconds * 1_000)
  const [calm, calmDirect] = (await client.ask<Tally[]>('turn')) as [Tally, Tally]
  const calmFiles = socketsOf(subject)
  ground.say(`attack: calm p99 ${calm.p99} ms, directly ${calmDirect.p99} ms`)

  const checks: Check[] = [
    { what: 'calm: p99', found: `${calm.p99} ms; directly ${calmDirect.p99} ms`, wanted: 'told', good: true },
  ]
  const tallies: Tally[] = [calm]
  for (const way of ways) {
    await lag()
    let before = subject.work()
    await attackers.ask('attack', { port: Number(new URL(subject.url).port), way })
    if (way === 'slow-readers') {
      // First the system takes megabytes for each of them, on this machine's own network: that is work, and no waiting.
      await quiet(subject)
      const [filling] = (await client.ask<Tally[]>('turn')) as [Tally]
      tallies.push(filling)
      checks.push({ what: `${way}: p99 while buffers fill`, found: `${filling.p99} ms`, wanted: 'told', good: true })
      before = subject.work()
      await lag()
    }
    await sleep(seconds * 1_000)
    const [during, direct] = (await client.ask<Tally[]>('turn')) as [Tally, Tally]
    const busy = (subject.work() - before) / (seconds * 10_000)
    const lagging = await lag()
    const sight = await attackers.ask<Sight>('look')
    const standing = socketsOf(subject)
    await attackers.ask('leave')
    await sleep(1_000)
    const left = socketsOf(subject)
    await client.ask<Tally[]>('turn')
    await sleep(1_000)
    const [after] = (await client.ask<Tally[]>('turn')) as [Tally]
    tallies.push(during, after)
    const most = 2 * calm.p99 + Math.max(0, direct.p99 - calmDirect.p99)
    ground.say(`attack: ${way} ${JSON.stringify(sight)}, ${standing} sockets, then ${left}`)
    checks.push(
      {
        what: `${way}: p99 of good traffic`,
        found: `${during.p99} ms; directly ${direct.p99} ms; event loop late by ${lagging} ms, core ${busy.toFixed(0)} % busy`,
        wanted: `≤ ${most.toFixed(1)} ms`,
        good: during.p99 <= most,
      },
      {
        what: `${way}: a second after they left`,
        found: `p99 ${after.p99} ms, ${left} sockets (before ${calmFiles}, during ${standing})`,
        wanted: `≤ ${most.toFixed(1)} ms, ≤ ${calmFiles + 20} sockets`,
        good: after.p99 <= most && left <= calmFiles + 20,
      },
    )
  }
  await client.ask('end')
  return [noneFailed('good requests that failed', tallies), ...checks]
}

/** Until a process works no more than half of a second, fifteen seconds at most. */
async function quiet(subject: Subject): Promise<void> {
  await sleep(1_000)
  for (let i = 0, before = subject.work(); i < 15; i += 1) {
    await sleep(1_000)
    const now = subject.work()
    if (now - before < 500_000) return
    before = now
  }
}

/** Open sockets of a process. */
function socketsOf({ pid }: Subject): number {
  return readdirSync(`/proc/${pid}/fd`).filter((file) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${file}`).startsWith('socket:')
    } catch {
      return false
    }
  }).length
}
