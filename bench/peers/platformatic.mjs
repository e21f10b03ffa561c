/** Platformatic Gateway, one application behind it. `node platformatic.mjs <port> <target>` */
import { create } from '@platformatic/gateway'

const [port, origin] = process.argv.slice(2)
// As its runtime would start it: in production, the entry point of one machine.
const context = {
  ...{ isEntrypoint: true, isProduction: true },
  serverConfig: { hostname: '127.0.0.1', port: Number(port), logger: { level: 'warn' } },
}
const gateway = await create(
  import.meta.dirname,
  { gateway: { applications: [{ id: 'service', origin, proxy: { prefix: '/' } }] } },
  context,
)
await gateway.start({ listen: true })
