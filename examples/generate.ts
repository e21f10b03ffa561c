/** `npm run generate`: write what stands in openapi/ anew, from the services of the demo as they are now. */
import { resolve } from 'node:path'
import { run } from '../src/cli/run.ts'
import { startBackends } from './backends.ts'

process.chdir(resolve(import.meta.dirname, '..'))
const anyPort = { ORDERS_PORT: '0', INVENTORY_PORT: '0', REPORTS_PORT: '0' }
const { PORT: _port, HOST: _host, ...environment } = process.env
const backends = await startBackends({ ...environment, ...anyPort })
try {
  process.exitCode = await run(['docs', 'build'], {
    environment: backends.env,
    out: (text) => console.log(text),
    err: (text) => console.error(text),
  })
} finally {
  await backends.close()
}
