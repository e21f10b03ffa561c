import { type LookupAddress, type LookupOptions, lookup as systemLookup } from 'node:dns'
import type { LookupFunction } from 'node:net'

/** Milliseconds: how long an answer is as good as new, how long a new one is waited for, how long an old one helps out. */
const fresh = 5_000
const patience = 250
const stale = 600_000

type Answer = readonly [error: NodeJS.ErrnoException | null, addresses: LookupAddress[]]
type Asked = (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void

interface Entry {
  addresses: LookupAddress[]
  /** When they were looked up; minus infinity when never. */
  at: number
  /** The question under way, if there is one. */
  asking: Promise<Answer> | undefined
}

/**
 * Names of targets, looked up once every five seconds however many connections are made, and with the last good answer
 * when the resolver fails or dawdles. The system's resolver has four threads for the whole process: without this one
 * slow name would hold up every other.
 */
export function createLookup(clock: () => number, resolve: typeof systemLookup = systemLookup): LookupFunction {
  const entries = new Map<string, Entry>()

  return function lookup(name, options, callback) {
    const key = `${name} ${options.family} ${options.hints}`
    const entry = entries.get(key) ?? { addresses: [], at: Number.NEGATIVE_INFINITY, asking: undefined }
    entries.set(key, entry)
    const answer: Asked = (error, addresses) => {
      const [first] = addresses
      if (error || !first) callback(error ?? new Error(`no address for ${name}`), '')
      else if (options.all) callback(null, addresses)
      else callback(null, first.address, first.family)
    }
    const age = clock() - entry.at
    if (age < fresh) {
      process.nextTick(answer, null, entry.addresses)
      return
    }
    entry.asking ??= ask(name, options).then((result) => {
      entry.asking = undefined
      if (!result[0]) {
        entry.addresses = result[1]
        entry.at = clock()
      }
      return result
    })
    if (age < stale) helpOut(entry.asking, entry.addresses).then((result) => answer(...result))
    else entry.asking.then((result) => answer(...result))
  }

  function ask(name: string, options: LookupOptions): Promise<Answer> {
    return new Promise((done) => {
      resolve(name, { ...options, all: true }, (error, addresses) => done([error, addresses ?? []]))
    })
  }
}

/** The answer under way if it is good and comes in time, else the one we had. */
async function helpOut(asking: Promise<Answer>, addresses: LookupAddress[]): Promise<Answer> {
  let timer: NodeJS.Timeout | undefined
  const old: Answer = [null, addresses]
  const tooLate = new Promise<Answer>((done) => {
    timer = setTimeout(done, patience, old)
  })
  const result = await Promise.race([asking, tooLate])
  clearTimeout(timer)
  return result[0] ? old : result
}
