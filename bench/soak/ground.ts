import { join } from 'node:path'
import { freePort } from '../../test/free-port.ts'
import type { Cores } from '../machine.ts'
import { startSallyport } from '../sallyport.ts'
import type { Subject } from '../subject.ts'
import type { Tally } from './client.ts'
import { Companion } from './companion.ts'

/** One thing that a scene has to show. */
export interface Check {
  readonly what: string
  readonly found: string
  readonly wanted: string
  readonly good: boolean
}

export interface GroundOptions {
  readonly folder: string
  readonly cores: Cores
  /** Overrides the length of the scene: seconds, or times. */
  readonly length: number | undefined
  readonly say: (line: string) => void
}

/** Where a scene is played: what is started here ends with it. */
export class Ground implements AsyncDisposable {
  readonly folder: string
  readonly length: number | undefined
  readonly say: (line: string) => void
  readonly #cores: Cores
  readonly #ends: (() => Promise<void>)[] = []

  constructor({ folder, cores, length, say }: GroundOptions) {
    this.folder = folder
    this.#cores = cores
    this.length = length
    this.say = say
  }

  async origin(port?: number): Promise<{ readonly url: string; readonly port: number; readonly process: Companion }> {
    const process = this.#companion('origin', this.#cores.backend)
    const chosen = port ?? (await freePort())
    await process.ask('listen', { port: chosen })
    return { url: `http://127.0.0.1:${chosen}`, port: chosen, process }
  }

  client(): Companion {
    return this.#companion('client', this.#cores.load)
  }

  attackers(): Companion {
    return this.#companion('attackers', this.#cores.load)
  }

  async gateway(name: string, definition: object): Promise<{ subject: Subject; config: string; adminUrl: string }> {
    const adminPort = await freePort()
    const subject = await startSallyport({
      name,
      folder: this.folder,
      cores: this.#cores.gateway,
      definition,
      adminPort,
    })
    this.#ends.push(() => subject.stop())
    return { subject, config: join(this.folder, name, 'services.json'), adminUrl: `http://127.0.0.1:${adminPort}` }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.#ends.reverse()) await end()
  }

  #companion(program: 'origin' | 'client' | 'attackers', cores: string): Companion {
    const companion = new Companion(program, cores, join(this.folder, `${program}.log`))
    this.#ends.push(() => companion.kill())
    return companion
  }
}

export const noneFailed = (what: string, tallies: readonly Tally[]): Check => {
  const sent = tallies.reduce((sum, tally) => sum + tally.sent, 0)
  const lost = tallies.reduce((sum, { sent, good, elsewhere }) => sum + sent - good - elsewhere, 0)
  const why = new Map<string, number>()
  for (const { failures } of tallies)
    for (const [reason, times] of Object.entries(failures)) why.set(reason, (why.get(reason) ?? 0) + times)
  const reasons = [...why].map(([reason, times]) => `${reason} ×${times}`).join(', ')
  return {
    what,
    found: `${lost} of ${sent}${reasons && ` (${reasons})`}`,
    wanted: '0',
    good: lost === 0 && sent > 0,
  }
}
