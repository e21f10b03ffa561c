/** Fastify with @fastify/http-proxy. `node fastify.mjs <port> <target>` */
import proxy from '@fastify/http-proxy'
import Fastify from 'fastify'

const [port, upstream] = process.argv.slice(2)
const app = Fastify()
app.register(proxy, { upstream, undici: { connections: 64 } })
await app.listen({ port: Number(port), host: '127.0.0.1' })
