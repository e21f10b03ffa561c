/** A process that starts the services of the demo and says where they are, for a test to kill. */
import { startBackends } from '../../examples/backends.ts'

const { env } = await startBackends(process.env)
process.send?.({ env })
