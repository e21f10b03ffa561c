import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import fc from 'fast-check'
import { exchange } from '../http/raw.ts'
import { eventually, startGateway } from '../sallyport.ts'

/**
 * Whatever target a client writes: what was authorised is, byte for byte, what a service receives, and no reading that
 * a service may make of it leads to what the caller may not have.
 */

/** How many targets; `FUZZ=20000` for a longer night. */
const runs = Number(process.env['FUZZ'] ?? 300)

const key = 'a-key-for-tests'
const keys = [{ sha256: createHash('sha256').update(key).digest('hex'), subject: 'ada' }]

/** Prefixes as services.json has them, and where they lead at the service. */
const prefixes = [
  { service: 'site', prefix: '', base: '' },
  { service: 'shop', prefix: '/shop', base: '/api/v1' },
] as const
const guarded = ['/admin', '/users/private'] as const

/** What stands in paths: what leads to the guarded ones, what only seems to, and what has fooled others. */
const words = 'admin ADMIN %61dmin adm%69n admin. users private %70rivate shop SHOP api v1 public'.split(' ')
const tricks = [
  ...'.. . %2e%2e %2E. .%2e ..%2f ..; ;x %3b %2f %5c \\ // /./ /../ %252e %252f %25 %2561 %00 %20 %09 %7f'.split(' '),
  ...'%c0%ae %c0%af %ef%bc%8e %ef%bc%8f %e2%80%8b %ef%bb%bf %C3%A9 é ． # ? @ : ~ %7e * | { %u002e %'.split(' '),
]
const segment = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...words) },
  {
    weight: 3,
    arbitrary: fc.tuple(fc.constantFrom(...words, ''), fc.constantFrom(...tricks)).map((two) => two.join('')),
  },
  { weight: 1, arbitrary: fc.string({ maxLength: 6 }) },
)
const start = fc.constantFrom(
  '',
  '',
  '',
  '/shop',
  '/shop/..',
  '/public/..',
  '/.',
  '//gw.test',
  'http://gw.test',
  'http://evil.test',
)
const middle = fc.constantFrom('', '', '', '/admin', '/users/private', '/users')
const query = fc.oneof(
  fc.constantFrom('', '', '?', '?a=1', '?next=/admin/../%2e', '?/admin', '?%61=%zz&b=//'),
  fc.string({ maxLength: 8 }).map((text) => `?${text}`),
)
const targets = fc
  .tuple(start, middle, fc.array(segment, { maxLength: 4 }), query)
  .map(([first, second, rest, last]) => `${first}${second}/${rest.join('/')}${last}`)
  .filter((target) => !/[\r\n]/.test(target))

/** A service of raw bytes: keeps the request lines as they came, and understands nothing of them. */
async function startRaw() {
  const lines: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    let text = ''
    socket.setEncoding('latin1')
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    socket.on('data', (chunk) => {
      text += chunk
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        lines.push(text.slice(0, text.indexOf('\r\n')))
        text = text.slice(end + 4)
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    lines,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Three services that read paths in three ways: as they are; decoded once; with dot segments removed after that. */
function views(path: string): string[] {
  let decoded = path
  try {
    decoded = decodeURIComponent(path)
  } catch {}
  const resolved: string[] = []
  for (const part of decoded.split('/')) {
    if (part === '..') resolved.pop()
    else if (part !== '.' && part !== '') resolved.push(part)
  }
  return [path, decoded, `/${resolved.join('/')}`]
}

function isGuarded(path: string): boolean {
  return prefixes.some(({ base }) =>
    guarded.some((below) => views(path).some((view) => `${view.toLowerCase()}/`.startsWith(`${base}${below}/`))),
  )
}

test('what was authorised is what a service receives, and nothing guarded is reached in any reading', async () => {
  await using backend = await startRaw()
  await using gateway = await startGateway({
    securitySchemes: { key: { type: 'apiKey', in: 'header', name: 'X-API-Key', keys } },
    services: prefixes.map(({ service, prefix, base }) => ({
      ...{ name: service, path: prefix || '/', targets: [`${backend.url}${base}`], openapi: false, security: [] },
      routes: guarded.flatMap((below) => [below, `${below}/*`]).map((match) => ({ match, security: [{ key: [] }] })),
    })),
  })
  const port = Number(new URL(gateway.url).port)
  const counts = { open: 0, guarded: 0, refused: 0 }

  /** The path that was decided about, and the one line that a service got, if any. */
  async function send(target: string, credential: string) {
    backend.lines.length = 0
    gateway.log.length = 0
    const head = `GET ${target} HTTP/1.1\r\nHost: gw.test\r\n${credential}Connection: close\r\n\r\n`
    const { statuses } = await exchange(port, Buffer.from(head, 'utf8'), () => false, 0)
    const line = await eventually('it is on the log', () =>
      gateway.log.find(({ message }) => message === 'request' || message === 'unreadable request'),
    )
    assert.ok(backend.lines.length <= 1, `${backend.lines.length} requests`)
    assert.equal(statuses.at(-1) === 200, backend.lines.length === 1)
    const [received] = backend.lines
    if (received === undefined) return { status: statuses.at(-1) }
    // As the log has it, which is what was matched and decided about; the query is nobody's business but the service's.
    const { path } = line as unknown as { path: string }
    const { prefix, base } = prefixes.find((one) => line['route'].startsWith(one.service))!
    const below = prefix === '' ? path : path.slice(prefix.length) || '/'
    const asked = target.indexOf('?')
    const query = asked < 0 || asked === target.length - 1 ? '' : target.slice(asked)
    assert.equal(received, `GET ${base}${below}${query} HTTP/1.1`)
    return { status: 200, path: `${base}${below}` }
  }

  await fc.assert(
    fc.asyncProperty(targets, async (target) => {
      const stranger = await send(target, '')
      if (stranger.path !== undefined) {
        assert.ok(!isGuarded(stranger.path), `a stranger reached ${stranger.path}`)
        counts.open++
      } else if (stranger.status === 401) {
        const friend = await send(target, `X-API-Key: ${key}\r\n`)
        assert.ok(
          friend.path !== undefined && isGuarded(friend.path),
          'with the key it is reached, and was guarded rightly',
        )
        counts.guarded++
      } else counts.refused++
    }),
    { numRuns: runs, seed: 20261128 },
  )
  for (const [what, count] of Object.entries(counts)) assert.ok(count >= runs / 20, `${what}: only ${count} of ${runs}`)
})
