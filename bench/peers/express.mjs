/** Express with http-proxy-middleware. `node express.mjs <port> <target>` */
import { Agent } from 'node:http'
import express from 'express'
import { createProxyMiddleware } from 'http-proxy-middleware'

const [port, target] = process.argv.slice(2)
const app = express()
app.use(createProxyMiddleware({ target, xfwd: true, agent: new Agent({ keepAlive: true, maxSockets: 64 }) }))
app.listen(Number(port), '127.0.0.1')
