/**
 * What many and large documents cost: `npm run bench:documents [folder of OpenAPI documents]`.
 *
 * Every document of the folder is mounted as a service of one gateway in this process. Other threads serve them, answer
 * one more service, and send that one 200 requests a second through the gateway, all the time. Nothing is served at
 * first; then every document is there at once. Printed is how long it takes until everything is read and published,
 * what requests notice of it, and what a change of one document costs.
 *
 * Take the numbers on a quiet machine: the processor's time, which is printed beside the clock's, says how quiet it was.
 * All of these threads want a processor, so that on two of them a request waits for one now and then, whoever has it;
 * what the gateway itself is to blame for is the longest turn of its event loop in processor time.
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

/** Serves the folder, once it may; a document that was touched has one operation more. */
const serving = `
const { createServer } = require('node:http')
const { readdirSync, readFileSync } = require('node:fs')
const { parentPort, workerData } = require('node:worker_threads')
const { parse } = require('yaml')
const files = new Map(readdirSync(workerData).filter((name) => /\\.(?:json|ya?ml)$/.test(name)).map((name) => [name, readFileSync(workerData + '/' + name)]))
let open = false
parentPort.on('message', (file) => {
  open = true
  if (files.has(file)) {
    const document = parse(files.get(file).toString(), { maxAliasCount: 1000, merge: true })
    document.paths = { ...document.paths, '/touched': { get: { responses: { 200: { description: 'ok' } } } } }
    files.set(file, Buffer.from(JSON.stringify(document)))
  }
  parentPort.postMessage('done')
})
const server = createServer((req, res) => {
  const file = files.get(req.url.slice(1))
  if (open && file) res.end(file)
  else res.writeHead(503).end()
})
server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port))
`
const answering = `
const { createServer } = require('node:http')
const { parentPort } = require('node:worker_threads')
const server = createServer((req, res) => res.end('{}')).listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port))
`
/** Sends a request every five milliseconds, whether the one before was answered or not, and tells the waits when asked. */
const asking = `
const { parentPort, workerData } = require('node:worker_threads')
const { request, Agent } = require('node:http')
const agent = new Agent({ keepAlive: true })
let waits = []
let failed = 0
parentPort.on('message', () => { parentPort.postMessage({ waits, failed }); waits = []; failed = 0 })
setInterval(() => {
  const begin = performance.now()
  request(workerData + '/answering/x', { agent }, (res) => {
    res.resume()
    if (res.statusCode !== 200) failed += 1
    res.on('end', () => waits.push(performance.now() - begin))
  }).on('error', () => { failed += 1 }).end()
}, 5)
`
const patience = 300_000
const message = <T>(worker: Worker) => new Promise<T>((done) => worker.once('message', done))

const server = new Worker(serving, { eval: true, workerData: folder })
const port = await message<number>(server)
const answerer = new Worker(answering, { eval: true })
const other = await message<number>(answerer)
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
const plain = {
  name: 'answering',
  path: '/answering',
  targets: [`http://127.0.0.1:${other}`],
  openapi: false,
  security: [],
}
writeFileSync(config, JSON.stringify({ store: { type: 'memory' }, services: [...services, plain] }))

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
/** The longest turn of the event loop here, in milliseconds of processor: what a request waits for on the quietest machine. */
let turn = 0
let before = process.threadCpuUsage()
function noteTurn(): void {
  const now = process.threadCpuUsage()
  turn = Math.max(turn, (now.user + now.system - before.user - before.system) / 1_000)
  before = now
}

async function measure(what: string, work: () => Promise<void>): Promise<void> {
  asker.postMessage('begin')
  await message(asker)
  delays.reset()
  turn = 0
  const [clock, processor, here] = [performance.now(), spent(), spentHere()]
  await work()
  const [took, cost, costHere] = [Math.round(performance.now() - clock), spent() - processor, spentHere() - here]
  asker.postMessage('end')
  const { waits, failed } = await message<{ waits: number[]; failed: number }>(asker)
  waits.sort((one, two) => one - two)
  const at = (part: number) => (waits[Math.min(waits.length - 1, Math.floor(waits.length * part))] ?? 0).toFixed(1)
  console.log(`${what}: ${took} ms, ${cost} ms of processor, ${costHere} of them in the thread that answers
  ${waits.length} requests meanwhile, ${failed} failed: median ${at(0.5)} ms, 99% ${at(0.99)} ms, slowest ${at(1)} ms
  event loop: longest turn ${turn.toFixed(1)} ms of processor, held up ${(delays.max / 1e6).toFixed(1)} ms by the clock`)
}

delays.enable()
setInterval(noteTurn, 1).unref()
const gateway = await start({ config, environment: { PORT: '0', ADMIN_PORT: '0' }, log: silent })
const asker = new Worker(asking, { eval: true, workerData: gateway.url })
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
    return state.status !== 'absent' || !/not been read yet|503/.test(state.reason)
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
const pause = (milliseconds: number) => new Promise<void>((done) => setTimeout(done, milliseconds))

await pause(2_000)
await measure('nothing else to do, for two seconds', () => pause(2_000))
await measure(`${files.length} documents, until all are read and published`, async () => {
  server.postMessage('open')
  await message(server)
  await gateway.refreshDocuments()
  await until(() => read() && isWhole())
})
console.log(`one document of ${(published().json.body.length / 1e6).toFixed(1)} MB`)
await pause(5_000)

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
await answerer.terminate()
await server.terminate()
await gateway.close()
await rm(place, { recursive: true })
