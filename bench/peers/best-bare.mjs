/**
 * The best reverse proxy we can write on node:http and undici without Koa, and the measure of the gateway: what is left
 * when everything is taken away that makes it one. It passes requests and answers on, with hop-by-hop fields taken off
 * and `X-Forwarded-*` added, heeds backpressure both ways, gives up when the client leaves, and answers 502 when the
 * service fails. It knows no routes, checks nothing, measures nothing and writes nothing down.
 *
 * `node best-bare.mjs <port> <target>`
 */
import { createServer } from 'node:http'
import { Client } from 'undici'

const [port, target] = process.argv.slice(2)

const hopByHop = new Set(
  'connection,keep-alive,proxy-connection,te,trailer,transfer-encoding,upgrade,http2-settings,expect'.split(','),
)
/** By the name as it was spelled: one look-up for each field of a warm process. */
const fates = new Map()

function fateOf(name) {
  const known = fates.get(name)
  if (known !== undefined) return known
  const lower = name.toLowerCase()
  const fate = hopByHop.has(lower) || lower === 'host' || lower.startsWith('x-forwarded-') ? 'drop' : 'keep'
  if (fates.size >= 512) fates.clear()
  fates.set(name, fate)
  return fate
}

/** The connections to the service, the last used on top. */
const idle = []
const connect = () => new Client(target, { pipelining: 1 })

/** undici's handler, straight to the response: no stream, no promise. */
class Passage {
  #req
  #res
  #client
  #controller
  #length
  #fields
  #over = false
  #listening = false

  constructor(req, res) {
    this.#req = req
    this.#res = res
    res.on('close', () => this.#closed())
    const client = idle.pop() ?? connect()
    this.#client = client
    const body = req.headers['content-length'] > 0 || req.headers['transfer-encoding'] !== undefined ? req : null
    client.dispatch({ path: req.url, method: req.method, headers: this.#requestFields(), body }, this)
  }

  #requestFields() {
    const raw = this.#req.rawHeaders
    const fields = []
    let host = ''
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i]
      if (fateOf(name) === 'keep') fields.push(name, raw[i + 1])
      else if (name === 'Host') host = raw[i + 1]
    }
    fields.push(
      'X-Forwarded-For',
      this.#req.socket.remoteAddress,
      'X-Forwarded-Host',
      host,
      'X-Forwarded-Proto',
      'http',
    )
    return fields
  }

  onRequestStart(controller) {
    if (this.#over) controller.abort(new Error('the client left'))
    else this.#controller = controller
  }

  onResponseStart(controller, status) {
    if (status < 200) return
    const raw = controller.rawHeaders
    const fields = []
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i].latin1Slice()
      if (fateOf(name) === 'drop') continue
      const value = raw[i + 1].latin1Slice()
      if (name.length === 14 && name.toLowerCase() === 'content-length') this.#length = Number(value)
      fields.push(name, value)
    }
    this.#fields = fields
    this.#res.statusCode = status
    if (this.#length === undefined || this.#length > 65_536) this.#open()
  }

  #open() {
    this.#res.writeHead(this.#res.statusCode, this.#fields)
  }

  onResponseData(controller, chunk) {
    const res = this.#res
    if (!res.headersSent) {
      this.#open()
      // Head and body in one write.
      if (chunk.length === this.#length) {
        if (chunk.length <= 12_288) res.end(chunk.latin1Slice(), 'latin1')
        else res.end(chunk)
        return
      }
    }
    if (res.write(chunk)) return
    controller.pause()
    if (this.#listening) return
    this.#listening = true
    res.on('drain', () => this.#controller.resume())
  }

  onResponseEnd() {
    if (!this.#res.headersSent) this.#open()
    if (!this.#res.writableEnded) this.#res.end()
    this.#over = true
    idle.push(this.#client)
  }

  onResponseError(_controller, error) {
    this.#over = true
    if (!this.#client.destroyed) idle.push(this.#client)
    if (this.#res.destroyed) return
    if (this.#res.headersSent) this.#res.destroy(error)
    else this.#res.writeHead(502).end()
  }

  #closed() {
    if (this.#over) return
    this.#over = true
    this.#controller?.abort(new Error('the client left'))
  }
}

createServer({ optimizeEmptyRequests: true, keepAliveTimeout: 65_000 }, (req, res) => {
  new Passage(req, res)
}).listen(Number(port), '127.0.0.1')
