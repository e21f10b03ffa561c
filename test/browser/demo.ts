import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { startBackends } from '../../examples/backends.ts'
import { startGateway } from '../sallyport.ts'

const root = resolve(import.meta.dirname, '../..')

export interface DemoUser {
  readonly username: string
  readonly password: string
  readonly subject: string
}

export const demoUsers: readonly DemoUser[] = JSON.parse(readFileSync(join(root, 'examples/users.json'), 'utf8'))

// biome-ignore lint/suspicious/noExplicitAny: services.json as it is written, for a test to change
export type Written = any

/** The gateway and the three services of `npm start`, on free ports and in memory; services.json may be changed first. */
export async function startDemo(change: (written: Written) => void = () => {}) {
  const text = readFileSync(join(root, 'services.json'), 'utf8')
  const written: Written = JSON.parse(text.replaceAll('"./', `"${root}/`))
  written.store = { type: 'memory' }
  change(written)
  const backends = await startBackends({ ...process.env, ORDERS_PORT: '0', INVENTORY_PORT: '0', REPORTS_PORT: '0' })
  try {
    const environment = Object.fromEntries(
      Object.entries(backends.env).flatMap(([name, value]) => (name.endsWith('_PORT') && value ? [[name, value]] : [])),
    )
    const gateway = await startGateway(written, { environment: { ...environment, ADMIN_PORT: '0' } })
    return {
      /** Where clients find it. */
      origin: gateway.running.publicUrl,
      adminUrl: gateway.adminUrl,
      schemes: Object.keys(written.securitySchemes) as string[],
      async [Symbol.asyncDispose]() {
        await gateway[Symbol.asyncDispose]()
        await backends.close()
      },
    }
  } catch (error) {
    await backends.close()
    throw error
  }
}

export type Demo = Awaited<ReturnType<typeof startDemo>>
