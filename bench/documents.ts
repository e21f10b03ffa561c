/**
 * What many and large documents cost: `npm run bench:documents [folder of OpenAPI documents]`.
 *
 * Every document of the folder is mounted as a service of one gateway in this process; another thread serves them, and a
 * third one asks the gateway whether it lives, all the time. Printed is how long it takes until everything is published,
 * how long the slowest request waited meanwhile, and what a change of one document costs. Take the numbers on a quiet
 * machine: the processor's time, which is printed beside the clock's, says how quiet it was.
 */
import { readdirSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Worker } from 'node:worker_threads'
import { start } from '../src/cli/start.ts'
import { silent } from '../src/telemetry/log.ts'

const folder = resolve(process.argv[2] ?? '../shared/corpus')

/** Serves the folder; a document that was touched has one operation more. */
const serving = `
const { createServer } = require('node:http')
const { readFileSync } = require('node:fs')
const { parentPort, workerData } = require('node:worker_threads')
const { parse } = require('yaml')
const changed = new Map()
parentPort.on('message', (file) => {
  const document = parse(readFileSync(workerData + '/' + file, 'utf8'), { maxAliasCount: 1000, merge: true })
  document.paths = { ...document.paths, '/touched': { get: { responses: { 200: { description: 'ok' } } } } }
  changed.set(file, JSON.stringify(document))
  parentPort.postMessage('changed')
})
const server = createServer((req, res) => {
  const file = req.url.slice(1)
  try { res.end(changed.get(file) ?? readFileSync(workerData + '/' + file)) } catch { res.writeHead(404).end() }
})
server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port))
`
/** Asks again as soon as it was answered, and tells the longest wait when asked. */
const asking = `
const { parentPort, workerData } = require('node:worker_threads')
const { request, Agent } = require('node:http')
const agent = new Agent({ keepAlive: true, maxSockets: 1 })
let waits = []
parentPort.on('message', () => { parentPort.postMessage(waits); waits = [] })
function ask() {
  const begin = performance.now()
  request(workerData + '/livez', { agent }, (res) => {
    res.resume()
    res.on('end', () => { waits.push(performance.now() - begin); setTimeout(ask, 2) })
  }).on('error', () => setTimeout(ask, 20)).end()
}
ask()
`
const patience = 300_000
const message = <T>(worker: Worker) => new Promise<T>((done) => worker.once('message', done))

const server = new Worker(serving, { eval: true, workerData: folder })
const port = await message<number>(server)
const files = readdirSync(folder).filter((file) => /\.(?:json|ya?ml)$/.test(file) && !file.includes('yamlbomb'))
const nameOf = (file: string) =>
  file
    .toLowerCase()
    .replace(/\.\w+$/, '')
    .replace(/[^a-z0-9]+/g, '-')
const services = files.map((file) => ({
  name: nameOf(file),
  path: `/${nameOf(file)}`,
  targets: [`http://127.0.0.1:${port}`],
  openapi: { from: `/${file}`, every: '10m' },
  security: [{ bearer: [] }],
}))
const place = await mkdtemp(join(tmpdir(), 'sallyport-bench-'))
const config = join(place, 'services.json')
writeFileSync(config, JSON.stringify({ store: { type: 'memory' }, services }))

const delays = monitorEventLoopDelay({ resolution: 5 })
const spent = () => {
  const { user, system } = process.cpuUsage()
  return Math.round((user + system) / 1_000)
}
/** Of the thread that answers requests alone. */
const spentHere = () => {
  const { user, system } = process.threadCpuUsage()
  return Math.round((user + system) / 1_000)
}
let asker: Worker | undefined

async function measure(what: string, work: () => Promise<void>): Promise<void> {
  asker?.postMessage('begin')
  if (asker) await message(asker)
  delays.reset()
  const [clock, processor, here] = [performance.now(), spent(), spentHere()]
  await work()
  const [took, cost, costHere] = [Math.round(performance.now() - clock), spent() - processor, spentHere() - here]
  let waited = ''
  if (asker) {
    asker.postMessage('end')
    const waits = (await message<number[]>(asker)).sort((one, other) => one - other)
    const at = (part: number) => waits[Math.min(waits.length - 1, Math.floor(waits.length * part))]!.toFixed(1)
    waited = `; ${waits.length} requests meanwhile, median ${at(0.5)} ms, 99% ${at(0.99)} ms, slowest ${at(1)} ms`
  }
  const loop = `event loop held up ${(delays.max / 1e6).toFixed(1)} ms at most`
  console.log(
    `${what}: ${took} ms, ${cost} ms of processor, ${costHere} of them in the thread that answers${waited}; ${loop}`,
  )
}

delays.enable()
const begin = performance.now()
const gateway = await start({ config, environment: { PORT: '0', ADMIN_PORT: '0' }, log: silent })
asker = new Worker(asking, { eval: true, workerData: gateway.url })
const published = () => gateway.live.current.documents.published
async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + patience
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not within ${patience} ms`)
    await new Promise((done) => setTimeout(done, 20))
  }
}
/** One that is no document at all is refused as well, and looked at again and again; what is not looked at yet says so. */
const read = () =>
  services.every(({ name }) => {
    const state = gateway.live.current.documents.state(name)
    return state.status !== 'absent' || !/not been read yet/.test(state.reason)
  })
/** The first publications are of what had been read when they began. */
function isWhole(): boolean {
  const { operations, findings } = published()
  return services.every(({ name }) => {
    const { length } = gateway.live.current.documents.listed(name)
    if (length === 0 || (operations.get(name)?.length ?? 0) > 0) return true
    return findings.some(({ service, severity }) => service === name && severity === 'error')
  })
}
await measure('after the first publication: until every document is read and published', async () => {
  await until(() => read() && isWhole())
})
console.log(
  `from the start: ${Math.round(performance.now() - begin)} ms; one document of ${(published().json.body.length / 1e6).toFixed(1)} MB`,
)
await new Promise((done) => setTimeout(done, 10_000))

for (const file of files.filter((name) => /museum|kubernetes/.test(name))) {
  server.postMessage(file)
  await message(server)
  await measure(`a change of ${file}, until it is published`, async () => {
    const before = published()
    await gateway.refreshDocuments()
    await until(() => published() !== before)
  })
}
await measure('a thousand times the whole document, by its tag', async () => {
  const { etag } = published().json
  for (let count = 0; count < 1_000; count += 1) {
    const answer = await fetch(`${gateway.url}/openapi.json`, { headers: { 'if-none-match': etag } })
    if (answer.status !== 304) throw new Error(`status ${answer.status}`)
  }
})
await asker.terminate()
await server.terminate()
await gateway.close()
await rm(place, { recursive: true })
