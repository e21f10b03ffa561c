/** Bare node:http and undici, written the plain way. `node bare.mjs <port> <target>` */
import { createServer } from 'node:http'
import { pipeline } from 'node:stream'
import { Pool } from 'undici'

const [port, target] = process.argv.slice(2)
const pool = new Pool(target, { connections: 64 })

createServer(async (req, res) => {
  const { host, connection, 'keep-alive': keepAlive, 'transfer-encoding': coding, ...headers } = req.headers
  headers['x-forwarded-for'] = req.socket.remoteAddress
  headers['x-forwarded-host'] = host
  headers['x-forwarded-proto'] = 'http'
  const hasBody = headers['content-length'] > 0 || coding !== undefined
  try {
    const answer = await pool.request({ path: req.url, method: req.method, headers, body: hasBody ? req : null })
    const { connection: _connection, 'keep-alive': _keepAlive, ...fields } = answer.headers
    res.writeHead(answer.statusCode, fields)
    pipeline(answer.body, res, () => {})
  } catch {
    if (res.headersSent) res.destroy()
    else res.writeHead(502).end()
  }
}).listen(Number(port), '127.0.0.1')
