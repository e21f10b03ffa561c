/**
 * `npm run bench:soak`: what holds under load, and what does not. See README.md in this folder.
 *
 *   --scene a,b        only these scenes: reload, stop, attack, kill
 *   --length n         of each scene: times (reload, stop, kill) or seconds of each attack
 *   --json             print the findings as JSON instead of a table
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { chooseCores } from './machine.ts'
import { chosen, optionsOf } from './options.ts'
import { attack } from './soak/attack.ts'
import { type Check, Ground } from './soak/ground.ts'
import { kill } from './soak/kill.ts'
import { reload } from './soak/reload.ts'
import { stop } from './soak/stop.ts'

const scenes = { reload, stop, attack, kill }
type Scene = keyof typeof scenes

const say = (line: string) => process.stderr.write(`${line}\n`)

process.exitCode = await main()

async function main(): Promise<number> {
  const options = optionsOf('soak', read)
  if (!options) return 2
  const findings: (Check & { readonly scene: Scene })[] = []
  for (const scene of options.scenes) {
    say(`${scene} …`)
    for (const check of await play(scene, options.length)) findings.push({ scene, ...check })
  }
  if (options.json) process.stdout.write(`${JSON.stringify(findings, null, 2)}\n`)
  else process.stdout.write(table(findings))
  return findings.every(({ good }) => good) ? 0 : 1
}

async function play(scene: Scene, length: number | undefined): Promise<readonly Check[]> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-soak-'))
  try {
    await using ground = new Ground({ folder, cores: chooseCores(), length, say })
    const interrupted = new Promise<never>((_resolve, reject) => {
      for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => reject(new Error('was interrupted')))
    })
    return await Promise.race([scenes[scene](ground), interrupted])
  } catch (error) {
    return [{ what: 'the scene', found: (error as Error).message, wanted: 'comes to its end', good: false }]
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  }
}

function read(words: readonly string[]) {
  const { values } = parseArgs({
    args: [...words],
    options: { scene: { type: 'string' }, length: { type: 'string' }, json: { type: 'boolean', default: false } },
  })
  const length = values.length === undefined ? undefined : Number(values.length)
  if (length !== undefined && !(Number.isInteger(length) && length > 0))
    throw new Error('--length takes a whole number above 0')
  return { scenes: chosen('scene', values.scene, Object.keys(scenes) as Scene[]), length, json: values.json }
}

function table(findings: readonly (Check & { readonly scene: Scene })[]): string {
  const rows = findings.map(
    ({ scene, what, found, wanted, good }) =>
      `| ${scene} | ${what} | ${found} | ${wanted} | ${good ? 'yes' : '**no**'} |`,
  )
  return `${['| Scene | What | Found | Wanted | Good |', '|---|---|---|---|---|', ...rows].join('\n')}\n`
}
