/** Three requests merged, the plain way: `undici.request` and `.json()`. `node fan-out.mjs <port> <target>` */
import { createServer } from 'node:http'
import { Pool } from 'undici'

const [port, target] = process.argv.slice(2)
const pool = new Pool(target, { connections: 192 })

async function part(path) {
  const { body } = await pool.request({ path, method: 'GET', headers: { accept: 'application/json' } })
  return body.json()
}

createServer(async (_req, res) => {
  const [one, two, three] = await Promise.all([part('/json'), part('/json'), part('/json')])
  const text = JSON.stringify({ one, two, three })
  res.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) }).end(text)
}).listen(Number(port), '127.0.0.1')
