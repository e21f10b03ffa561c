import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Tally } from './client.ts'
import { type Check, type Ground, noneFailed } from './ground.ts'

/**
 * services.json is written again and again under 1,000 requests a second; every tenth time it is broken. Each revision
 * names itself twice: in the path of the target and in a header field. An answer that names two is a mixture.
 */
export async function reload(ground: Ground): Promise<readonly Check[]> {
  const times = ground.length ?? 100
  const origin = await ground.origin()
  const revision = (name: string) => ({
    store: { type: 'memory' },
    services: [
      {
        ...{ name: 'open', path: '/open', openapi: false, security: [] },
        targets: [`${origin.url}/${name}`],
        forward: { headers: { Release: name } },
      },
    ],
  })
  const { subject, config, adminUrl } = await ground.gateway('reload', revision('r0'))
  const client = ground.client()
  const url = `${subject.url}/open/`
  await client.ask('begin', { streams: [{ name: 'good', url, perSecond: 1_000, connections: 64 }] })

  const serving = async () => ((await (await fetch(`${url}?number=0`)).json()) as { readonly release: string }).release
  const delays: number[] = []
  let current = 'r0'
  let kept = 0
  let broken = 0
  for (let n = 1; n <= times; n += 1) {
    const written = performance.now()
    if (n % 10 === 0) {
      broken += 1
      const text = JSON.stringify(revision(`r${n}`))
      // By turns: cut in the middle, and a mistake in what is said.
      writeFileSync(config, broken % 2 === 0 ? text.slice(0, -20) : text.replace('"security"', '"securty"'))
      await until(async () => /^sallyport_config_stale 1$/m.test(await (await fetch(`${adminUrl}/metrics`)).text()))
      if ((await serving()) === current) kept += 1
    } else {
      current = `r${n}`
      writeFileSync(config, JSON.stringify(revision(current)))
      await until(async () => (await serving()) === current)
      delays.push(performance.now() - written)
    }
    if (n % 25 === 0) ground.say(`reload: ${n} of ${times}`)
  }
  const tallies = await client.ask<Tally[]>('end')
  const versions = await client.ask<string[]>('versions')
  const [{ p50, p99, longest } = { p50: 0, p99: 0, longest: 0 }] = tallies
  const used = times - broken + 1
  delays.sort((one, other) => one - other)
  const [middle, most] = [delays[delays.length >> 1] ?? 0, delays.at(-1) ?? 0]
  return [
    noneFailed('requests lost or answered by a mixture', tallies),
    {
      what: 'revisions that traffic saw',
      ...{ found: `${versions.length}`, wanted: `${used}`, good: versions.length === used },
    },
    {
      what: 'broken files that left the old one in place',
      ...{ found: `${kept} of ${broken}`, wanted: 'all', good: kept === broken },
    },
    {
      what: 'from written to in use: median, most',
      ...{ found: `${middle.toFixed(0)} ms, ${most.toFixed(0)} ms`, wanted: '≤ 1,000 ms', good: most <= 1_000 },
    },
    { what: 'latency: p50, p99, longest', found: `${p50}, ${p99}, ${longest} ms`, wanted: 'told', good: true },
  ]
}

async function until(true_: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 10_000; Date.now() < end; await sleep(10)) if (await true_()) return
  throw new Error('services.json was not taken up within ten seconds')
}
