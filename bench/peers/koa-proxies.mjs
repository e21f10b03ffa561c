/** Koa with koa-proxies. `node koa-proxies.mjs <port> <target>` */
import { Agent } from 'node:http'
import Koa from 'koa'
import proxy from 'koa-proxies'

const [port, target] = process.argv.slice(2)
const app = new Koa()
app.use(proxy('/', { target, xfwd: true, agent: new Agent({ keepAlive: true, maxSockets: 64 }) }))
app.listen(Number(port), '127.0.0.1')
