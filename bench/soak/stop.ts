import { setTimeout as sleep } from 'node:timers/promises'
import type { Tally } from './client.ts'
import { type Check, type Ground, noneFailed } from './ground.ts'

/** Milliseconds: of `gateway.notice` and `gateway.shutdown`. */
const notice = 1_000
const grace = 10_000

/**
 * SIGTERM again and again under load, with an upload, a stream of events and a WebSocket under way; then the port is
 * closed, and the next gateway is started.
 */
export async function stop(ground: Ground): Promise<readonly Check[]> {
  const times = ground.length ?? 20
  const origin = await ground.origin()
  const service = { name: 'open', path: '/open', targets: [origin.url], openapi: false, security: [] }
  const definition = {
    gateway: { notice: `${notice}ms`, shutdown: `${grace}ms` },
    services: [service],
  }
  const client = ground.client()
  const tallies: Tally[] = []
  let ended = 0
  let told = 0
  let readinessFirst = 0
  let wellEnded = 0
  const wrong = new Set<string>()
  const durations: number[] = []
  for (let n = 1; n <= times; n += 1) {
    const { subject } = await ground.gateway(`stop-${n}`, definition)
    const url = `${subject.url}/open`
    await client.ask('begin', {
      streams: [{ name: 'good', url: `${url}/`, perSecond: 300, connections: 32 }],
      ready: `${subject.url}/readyz`,
    })
    await client.ask('open', { url })
    await sleep(300)
    tallies.push(...(await client.ask<Tally[]>('turn')))
    const signalled = performance.now()
    subject.signal('SIGTERM')
    await client.ask('unready')
    if (performance.now() - signalled < notice) readinessFirst += 1
    const code = await subject.ended
    const took = performance.now() - signalled
    durations.push(took)
    if (code === 0 && took < notice + grace) ended += 1
    const last = await client.ask<Tally[]>('end')
    tallies.push(...last)
    if (last.some(({ toldToClose }) => toldToClose > 0)) told += 1
    const ends = await client.ask<Record<string, string>>('longLived')
    if (Object.values(ends).every((end) => end === 'well')) wellEnded += 1
    for (const [name, end] of Object.entries(ends)) if (end !== 'well') wrong.add(`${name}: ${end}`)
    if (n % 5 === 0) ground.say(`stop: ${n} of ${times}`)
  }
  const all = (what: string, count: number, more = ''): Check => ({
    what,
    ...{ found: `${count} of ${times}${more}`, wanted: 'all', good: count === times },
  })
  return [
    noneFailed('requests lost', tallies),
    all('/readyz said 503 before the port was closed', readinessFirst),
    all('answers said Connection: close', told),
    all('upload, events and WebSocket ended well', wellEnded, wrong.size > 0 ? ` (${[...wrong].join('; ')})` : ''),
    all(
      `exit code 0 within ${(notice + grace) / 1_000} s`,
      ended,
      `; ${Math.round(Math.max(...durations))} ms at most`,
    ),
  ]
}
