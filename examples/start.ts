/** `npm start`: the gateway with the services.json of this repository, and three services behind it. */
import { readFileSync } from 'node:fs'
import { enableCompileCache } from 'node:module'
import { resolve } from 'node:path'
import type { RunningGateway } from '../src/cli/start.ts'
import { startBackends } from './backends.ts'
import { demoKey } from './demo.ts'

interface User {
  readonly username: string
  readonly password: string
  readonly organization: string
  readonly roles: readonly string[]
}

const root = resolve(import.meta.dirname, '..')
process.chdir(root)

// Taking the types off the sources is a third of the start; what comes of it is kept, for the services too.
const cache = resolve('node_modules', '.cache', 'sallyport')
enableCompileCache(cache)

// 1. What has been started, the last first; all of it is ended together.
const running: { close(): Promise<unknown> }[] = []

async function end(code: number): Promise<never> {
  for (const part of running.splice(0)) await part.close()
  process.exit(code)
}
let interrupted = false
function leave(): void {
  interrupted = true
  void end(0)
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // The second one does not wait. The services end with this process in any case.
    if (interrupted) process.exit(1)
    leave()
  })
}

// Somebody who ends npm ends the shell that npm has put in between, and that tells nobody.
const { ppid } = process
if (process.env['npm_lifecycle_event'] === 'start') {
  setInterval(() => {
    if (process.ppid !== ppid && !interrupted) leave()
  }, 250).unref()
}

// 2. The services, while the gateway is loaded; then the gateway in front of them.
try {
  const starting = startBackends({ NODE_COMPILE_CACHE: cache, ...process.env })
  const [backends, { start }] = await Promise.all([starting, import('../src/cli/start.ts')])
  running.unshift(backends)
  const gateway = await start({ config: 'services.json', environment: backends.env })
  running.unshift(gateway)
  console.log(welcome(gateway))
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  await end(1)
}

// 3. All that is needed to look around.
function welcome({ publicUrl, adminUrl }: Pick<RunningGateway, 'publicUrl' | 'adminUrl'>): string {
  const users: User[] = JSON.parse(readFileSync('examples/users.json', 'utf8'))
  const rows = users.map(({ username, password, roles, organization }) =>
    [username.padEnd(8), password.padEnd(12), roles.join(', ').padEnd(8), organization].join(' '),
  )
  return `
Sallyport is ready.

  Documentation   ${publicUrl}/docs    press Authorize and sign in
  Administration  ${adminUrl}/

  Users           ${rows.join('\n                  ')}
  API key         ${demoKey}

  Try it          curl -H "X-API-Key: ${demoKey}" "${publicUrl}/orders?limit=2"

Ctrl-C ends everything.`
}
