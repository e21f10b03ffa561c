/** http-proxy-3, WebSockets included. `node http-proxy-3.mjs <port> <target>` */
import { Agent } from 'node:http'
import httpProxy from 'http-proxy-3'

const [port, target] = process.argv.slice(2)
const agent = new Agent({ keepAlive: true, maxSockets: 256 })
const proxy = httpProxy.createProxyServer({ target, xfwd: true, ws: true, agent })
// Without these a client that leaves would end the process.
proxy.on('error', () => {})
proxy.on('open', (socket) => socket.on('error', () => {}))
proxy.listen(Number(port), '127.0.0.1')
