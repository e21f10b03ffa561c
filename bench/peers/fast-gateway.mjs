/** fast-gateway over undici. `node fast-gateway.mjs <port> <target>` */
import gateway from 'fast-gateway'

const [port, target] = process.argv.slice(2)
await gateway({
  routes: [{ prefix: '', prefixRewrite: '', target, fastProxy: { undici: { connections: 64 } } }],
}).start(Number(port), '127.0.0.1')
