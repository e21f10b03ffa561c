import { hash } from 'node:crypto'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../test/free-port.ts'
import { Subject } from './subject.ts'
import { audience, issuer, type Signer, secretIssuer } from './tokens.ts'

export const apiKey = 'bench-key-0123456789abcdefghijklmnopqrstuv'
export const person = { username: 'ada', password: 'ada' }

export interface GatewayOptions {
  readonly name: string
  readonly folder: string
  readonly cores: string | undefined
  readonly definition: object
  /** `warn` by default: no access log. */
  readonly log?: 'info' | 'warn'
  readonly workers?: number
  /** Words for Node, before the program. */
  readonly node?: readonly string[]
  /** Where its metrics are; by default anywhere. */
  readonly adminPort?: number
}

/** The product, as `sallyport start` runs it, with a services.json of its own. */
export async function startSallyport(options: GatewayOptions): Promise<Subject> {
  const { name, cores, definition, log = 'warn', workers, node = [] } = options
  const adminPort = options.adminPort ?? (await freePort())
  const folder = join(options.folder, name)
  mkdirSync(folder, { recursive: true })
  const config = join(folder, 'services.json')
  writeFileSync(config, JSON.stringify({ store: { type: 'memory' }, ...definition }))
  writeFileSync(
    join(folder, 'users.json'),
    JSON.stringify([
      { ...person, subject: 'user-4711', name: 'Ada Okafor', email: 'ada@acme.example', roles: ['admin'] },
    ]),
  )
  const port = await freePort()
  const words = [...node, programFile(), 'start', '--config', config]
  if (workers !== undefined) words.push('--workers', String(workers))
  return Subject.launch({
    ...{ name, command: process.execPath, words, cores, port, probe: '/livez' },
    environment: { PORT: String(port), ADMIN_PORT: String(adminPort), LOG_LEVEL: log, NODE_ENV: 'production' },
    output: join(folder, 'log'),
  })
}

/** Built when it has been (`npm run build`), as it is shipped; else the source, which Node reads as well. */
function programFile(): string {
  const built = join(import.meta.dirname, '../dist/src/main.js')
  return existsSync(built) ? built : join(import.meta.dirname, '../src/main.ts')
}

const allowed = { roles: ['admin'], permissions: ['orders:read'] }
const service = (name: string, target: string, rest: object) => ({
  ...{ name, path: `/${name}`, targets: [target], openapi: false },
  ...rest,
})

/** Everything that differs by route in one gateway; the cases name the paths. */
export function definitionOfCases(target: string, taker: string, signer: Signer): object {
  return {
    issuers: {
      bench: {
        type: 'oidc',
        issuer,
        audience,
        algorithms: ['RS256', 'ES256', 'EdDSA'],
        jwksUri: `${target}/keys.json`,
      },
      secret: { type: 'secret', issuer: secretIssuer, audience, algorithms: ['HS256'], secret: signer.secret },
      local: { type: 'embedded', users: './users.json' },
    },
    securitySchemes: {
      bearer: { type: 'http', scheme: 'bearer', issuers: ['bench', 'secret'] },
      key: {
        ...{ type: 'apiKey', in: 'header', name: 'X-API-Key' },
        keys: [{ sha256: hash('sha256', apiKey, 'hex'), subject: 'user-4711', roles: ['admin'] }],
      },
      session: { type: 'apiKey', in: 'cookie', name: '__Host-sallyport', session: { issuer: 'local' } },
    },
    services: [
      service('plain', target, { security: [] }),
      service('taker', taker, { security: [], limits: { body: '64mb' } }),
      service('jwt', target, { security: [{ bearer: [] }] }),
      service('key', target, { security: [{ key: [] }] }),
      service('session', target, { security: [{ session: [] }] }),
      service('policy', target, {
        security: [{ bearer: [] }],
        allow: { when: "caller.subject == request.params.userId || 'admin' in caller.roles" },
        routes: [{ match: '/{userId}' }],
      }),
      service('full', target, {
        security: [{ bearer: [] }],
        allow: allowed,
        limits: { rate: [{ requests: 1_000_000, per: '1s', by: 'caller' }], concurrent: 10_000 },
        forward: { headers: { 'Feature-Tier': 'premium' } },
      }),
    ],
    compositions: [
      {
        match: 'GET /three',
        parts: Object.fromEntries(['one', 'two', 'three'].map((part) => [part, { service: 'plain', path: '/json' }])),
      },
    ],
  }
}

/** A gateway whose table has so many rows, or that has so many services. */
export function definitionOfSize(
  target: string,
  size: { readonly routes: number } | { readonly services: number },
): object {
  if ('routes' in size) {
    const routes = Array.from({ length: size.routes }, (_, index) => ({ match: `GET /things${index}/{id}` }))
    return { services: [service('things', target, { security: [], routes })] }
  }
  return {
    services: Array.from({ length: size.services }, (_, index) => service(`service${index}`, target, { security: [] })),
  }
}
