import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { createServer } from 'node:https'
import { type AddressInfo, connect, type LookupFunction, type Socket } from 'node:net'
import { describe, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { Connections } from '../../src/upstream/connections.ts'
import type { Connection, ResponseHandler } from '../../src/upstream/http1/connection.ts'
import { certificate, key, trustCertificate } from './certificate.ts'
import { ask, gatewayTo, httpBackend, rawBackend, sleep, until, upstreamTo } from './scene.ts'

/** Sends one request over a connection and gives it back when the answer has ended. */
function send(
  connection: Connection,
  path: string,
  done: (path: string) => void,
  onResponseData: (chunk: Buffer) => void = () => {},
): void {
  const handler: ResponseHandler = {
    onRequestStart() {},
    onRequestSent() {},
    onResponseStarted() {},
    onInterim() {},
    onResponseStart() {},
    onResponseData,
    onUpgrade() {},
    onResponseEnd() {
      connection.release()
      done(path)
    },
    onResponseError(error) {
      done(`${path} ${error.message}`)
    },
  }
  connection.send({ path, method: 'GET', fields: [], body: null }, handler)
}

/** A connection, as soon as there is one. */
function take(connections: Connections, fresh = false): Promise<Connection> {
  return new Promise((connected) => {
    const connection = connections.take({ connected }, fresh)
    if (connection) connected(connection)
  })
}

/** One that has carried a request and is idle now. */
async function used(connections: Connections): Promise<Connection> {
  const connection = await take(connections, true)
  await new Promise<string>((done) => send(connection, '/', done))
  return connection
}

describe('the connections to one target', { concurrency: true, timeout: 30_000 }, () => {
  for (const [most, order] of [
    [1, (served: readonly string[]) => served],
    // Which of three is done first is the service's affair.
    [3, (served: readonly string[]) => served.toSorted((a, b) => Number(a.slice(1)) - Number(b.slice(1)))],
  ] as const) {
    test(`are never more than ${most} when no more are allowed: who comes later waits its turn`, async (t) => {
      let busiest = 0
      let now = 0
      const backend = await httpBackend(t, async (req, res) => {
        busiest = Math.max(busiest, ++now)
        await sleep(10)
        now -= 1
        res.end(req.url)
      })
      const connections = new Connections(new URL(backend.url), most)
      t.after(() => connections.close())
      const served: string[] = []
      const expected = Array.from({ length: 12 }, (_, i) => `/${i}`)
      for (const path of expected) {
        const waiter = { connected: (connection: Connection) => send(connection, path, (what) => served.push(what)) }
        const connection = connections.take(waiter)
        if (connection) waiter.connected(connection)
      }
      await until(() => served.length === 12)
      assert.deepEqual(order(served), expected)
      assert.equal(busiest, most)
      assert.equal(connections.size, most)
      assert.equal(connections.idle, most)
    })
  }

  test('make room when one is dropped, and for who stays when others stop waiting', async (t) => {
    const backend = await httpBackend(t, (_req, res) => res.end())
    const connections = new Connections(new URL(backend.url), 1)
    t.after(() => connections.close())
    const first = await take(connections)
    const got: string[] = []
    const impatient = { connected: () => got.push('impatient') }
    const patient = { connected: () => got.push('patient') }
    assert.equal(connections.take(impatient), undefined)
    assert.equal(connections.take(patient), undefined)
    connections.leave(impatient)
    first.drop()
    first.drop()
    await until(() => got.length > 0)
    await sleep(10)
    assert.deepEqual(got, ['patient'])
    assert.equal(connections.size, 1)
  })

  test('the last one used is used next, and a fresh one on demand', async (t) => {
    const backend = await httpBackend(t, (_req, res) => res.end())
    const connections = new Connections(new URL(backend.url), 9)
    t.after(() => connections.close())
    const [one, other] = [await used(connections), await used(connections)]
    assert.equal(await take(connections), other)
    const fresh = await take(connections, true)
    assert.ok(fresh !== one && fresh !== other)
    assert.equal(await take(connections), one)
  })

  test('one on which something came that nobody asked for is not used again, however late it is read', async (t) => {
    const backend = await rawBackend(t, (socket) => {
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'))
    })
    const connections = new Connections(new URL(backend.url), 9)
    t.after(() => connections.close())
    const poisoned = await used(connections)
    backend.sockets[0]!.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison')
    // The bytes are there, and have not been read, when the connection is asked for.
    await setImmediate()
    const next = await take(connections)
    assert.notEqual(next, poisoned)
    assert.equal(poisoned.gone, true)
  })

  test('go to who waits longest, also when somebody comes in the turn in which one becomes free', async (t) => {
    const backend = await httpBackend(t, (_req, res) => res.end())
    const connections = new Connections(new URL(backend.url), 1)
    t.after(() => connections.close())
    const first = await take(connections)
    const order: string[] = []
    const waiter = (name: string) => ({
      connected(connection: Connection) {
        order.push(name)
        connection.drop()
      },
    })
    for (const name of ['one', 'two', 'three']) assert.equal(connections.take(waiter(name)), undefined)
    first.drop()
    assert.equal(connections.take(waiter('late')), undefined, 'the place is for who waits')
    await until(() => order.length === 4)
    assert.deepEqual(order, ['one', 'two', 'three', 'late'])
  })

  test('are not kept for who left after one had become free for it', async (t) => {
    const backend = await httpBackend(t, (_req, res) => res.end())
    const connections = new Connections(new URL(backend.url), 1)
    t.after(() => connections.close())
    const busy = connections.take({ connected() {} })!
    const impatient = { connected: () => assert.fail('it has left') }
    assert.equal(connections.take(impatient), undefined)
    const patient = take(connections)
    send(busy, '/', () => connections.leave(impatient))
    assert.equal(await patient, busy)
  })

  test('make room for a fresh one when all that are allowed lie idle', async (t) => {
    const backend = await httpBackend(t, (_req, res) => res.end())
    const connections = new Connections(new URL(backend.url), 2)
    t.after(() => connections.close())
    const [one, other] = [await used(connections), await used(connections)]
    const fresh = connections.take({ connected: () => assert.fail('there was no need to wait') }, true)
    assert.ok(fresh && fresh !== one && fresh !== other)
    assert.deepEqual([one.gone, other.gone, connections.size], [true, false, 2])
  })

  test('that the service closes while idle are forgotten', async (t) => {
    const backend = await httpBackend(t, (_req, res) => res.end())
    const connections = new Connections(new URL(backend.url), 9)
    t.after(() => connections.close())
    let served = 0
    for (let i = 0; i < 5; i++) send(connections.take({ connected() {} })!, '/', () => served++)
    await until(() => served === 5 && connections.idle === 5)
    for (const socket of backend.sockets) socket.destroy()
    await until(() => connections.size === 0)
    assert.equal(connections.idle, 0)
  })

  test('one that is closed while connecting is gone, and its place is free', async (t) => {
    const silent = await rawBackend(t, (socket) => socket.resume())
    const connections = new Connections(new URL(`https://127.0.0.1:${silent.port}`), 1)
    t.after(() => connections.close())
    const connection = connections.take({ connected() {} })!
    send(connection, '/', () => assert.fail('who drops it knows'))
    await until(() => silent.sockets.length === 1)
    connection.drop()
    assert.equal(connections.size, 0)
    await until(() => silent.sockets[0]!.readableEnded)
  })
})

test('nobody waits for ever, and no place is lost, however connections and clients go', async (t) => {
  let asked = 0
  const backend = await rawBackend(t, (socket) =>
    socket.on('data', async () => {
      const index = asked++
      await sleep(index % 4)
      if (socket.destroyed) return
      if (index % 5 === 0) socket.resetAndDestroy()
      else if (index % 7 === 0) socket.end()
      else if (index % 11 === 0) socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok')
      else if (index % 13 === 0) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more')
      else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    }),
  )
  const upstream = upstreamTo(t, {
    targets: [backend.url],
    connections: 3,
    timeouts: { connect: '20s' },
    breaker: { failures: 1_000 },
  })
  const gateway = await gatewayTo(t, upstream)
  const requests = Array.from({ length: 240 }, async (_, index) => {
    if (index % 6 > 0) return ask(gateway.port, { method: index % 2 ? 'GET' : 'POST' })
    const client = connect(gateway.port, '127.0.0.1', () => client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'))
    await sleep(index % 60)
    client.destroy()
    return undefined
  })
  // The configuration may go meanwhile: who is under way is served all the same.
  await until(() => asked > 60)
  upstream.release()
  const statuses = (await Promise.all(requests)).map((answer) => answer?.status)
  assert.ok(statuses.every((status) => status === undefined || status === 200 || status === 502))
  assert.ok(statuses.filter((status) => status === 200).length > 100)
  await until(() => gateway.outcomes.length + 40 >= 240 && upstream.describe()[0]!.inFlight === 0)
  assert.equal(gateway.outcomes.filter(({ failure }) => failure?.code === 'overloaded').length, 0)
  assert.equal(upstream.describe()[0]!.connections, 0)
})

test('idle connections are closed before the service closes them, by what it says of itself', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] })
  let kept = ''
  const backend = await rawBackend(t, (socket) => {
    socket.on('data', () => socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 0\r\n${kept}\r\n`))
  })
  const secondsOf = async (timeout: string) => {
    kept = timeout && `Keep-Alive: timeout=${timeout}\r\n`
    const connections = new Connections(new URL(backend.url), 9)
    await used(connections)
    let seconds = 0
    for (; connections.size > 0; seconds++) t.mock.timers.tick(1_000)
    return seconds
  }
  assert.deepEqual([await secondsOf(''), await secondsOf('5'), await secondsOf('2')], [5, 4, 0])
  assert.equal(await secondsOf('3600'), 61)
})

test('a target that does not finish the handshake is a 504 after the connect time of the settings', async (t) => {
  const silent = await rawBackend(t, (socket) => socket.resume())
  const targets = [`https://127.0.0.1:${silent.port}`]
  const gateway = await gatewayTo(t, upstreamTo(t, { targets, timeouts: { connect: '200ms' } }))
  assert.equal((await ask(gateway.port)).status, 504)
  const [outcome] = gateway.outcomes
  assert.equal(outcome!.failure?.stage, 'connect')
  assert.equal(outcome!.attempts, 1, 'whom it could not reach it does not try again at once')
  assert.ok(outcome!.total > 200 && outcome!.total < 1_500, `${outcome!.total} ms`)
  await until(() => silent.sockets.every((socket) => socket.readableEnded))
})

for (const [what, greet] of [
  ['ends', (socket: Socket) => socket.end()],
  ['resets', (socket: Socket) => socket.resetAndDestroy()],
  ['speaks HTTP in the clear', (socket: Socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')],
] as const) {
  test(`a target of https that ${what} instead of a handshake is a 502, and the other target is asked`, async (t) => {
    const rude = await rawBackend(t, (socket) => void socket.once('data', () => greet(socket)))
    const kind = await httpBackend(t, (_req, res) => res.end('kind'))
    const target = `https://127.0.0.1:${rude.port}`
    const alone = await gatewayTo(t, upstreamTo(t, { targets: [target] }))
    assert.equal((await ask(alone.port, { method: 'POST' })).status, 502)
    const { failure, attempts } = alone.outcomes[0]!
    assert.deepEqual([failure?.code, failure?.stage, attempts], ['upstream-unreachable', 'connect', 1])
    // Nothing of it was sent: it may go elsewhere, whatever its method.
    const upstream = upstreamTo(t, { targets: [target, kind.url] })
    const gateway = await gatewayTo(t, upstream)
    for (let i = 0; i < 2; i++) assert.equal((await ask(gateway.port, { method: 'POST' })).content.toString(), 'kind')
    assert.deepEqual(
      upstream.describe().map(({ inFlight, failures }) => [inFlight, failures]),
      [
        [0, 1],
        [0, 0],
      ],
    )
  })
}

test('a target of https is asked in TLS, and only believed with a certificate for its name', async (t) => {
  const server = createServer({ key, cert: certificate }, (_req, res) => res.end('over tls')).listen(0, 'localhost')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const byName = await gatewayTo(t, upstreamTo(t, { targets: [`https://localhost:${port}`] }))
  assert.equal((await ask(byName.port)).status, 502, 'nobody vouches for the certificate')
  trustCertificate(t)
  assert.equal((await ask(byName.port)).content.toString(), 'over tls')
  assert.equal((await ask(byName.port)).content.toString(), 'over tls')
  const byAddress = await gatewayTo(t, upstreamTo(t, { targets: [`https://127.0.0.1:${port}`] }))
  assert.equal((await ask(byAddress.port)).status, 502, 'the certificate is for another name')
})

test('a name with the dot of the root is asked for, and believed, without it', async (t) => {
  const names: (string | false | null)[] = []
  const server = createServer({ key, cert: certificate }, (_req, res) => res.end('ok')).listen(0, '127.0.0.1')
  server.on('secureConnection', (socket) => names.push(socket.servername))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  await once(server, 'listening')
  trustCertificate(t)
  const lookup: LookupFunction = (_name, _options, found) =>
    process.nextTick(found, null, [{ address: '127.0.0.1', family: 4 }])
  const url = new URL(`https://localhost.:${(server.address() as AddressInfo).port}`)
  const connections = new Connections(url, 9, lookup)
  t.after(() => connections.close())
  await used(connections)
  assert.deepEqual([names, connections.idle], [['localhost'], 1])
})

test('the next connection of TLS takes up the session of the one before', async (t) => {
  const reused: boolean[] = []
  const server = createServer({ key, cert: certificate }, (_req, res) => res.end('ok')).listen(0, 'localhost')
  server.on('secureConnection', (socket) => reused.push(socket.isSessionReused()))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  await once(server, 'listening')
  trustCertificate(t)
  const connections = new Connections(new URL(`https://localhost:${(server.address() as AddressInfo).port}`), 9)
  t.after(() => connections.close())
  for (let i = 0; i < 4; i++) (await used(connections)).drop()
  assert.deepEqual(reused, [false, true, true, true])
})

for (const encrypted of [false, true]) {
  test(`a name with several addresses is reached though the first refuses, ${encrypted ? 'in TLS' : 'plain'}`, async (t) => {
    if (encrypted) trustCertificate(t)
    const large = 'x'.repeat(300_000)
    const listener: RequestListener = (_req, res) => res.end(large)
    const server = encrypted ? createServer({ key, cert: certificate }, listener) : createHttpServer(listener)
    server.listen(0, '127.0.0.1')
    t.after(() => {
      server.closeAllConnections()
      server.close()
    })
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    // Nobody listens at the first.
    const lookup: LookupFunction = (_name, _options, found) =>
      process.nextTick(found, null, [
        { address: '127.0.0.9', family: 4 },
        { address: '127.0.0.1', family: 4 },
      ])
    const connections = new Connections(new URL(`http${encrypted ? 's' : ''}://localhost:${port}`), 9, lookup)
    t.after(() => connections.close())
    let bytes = 0
    for (let i = 1; i <= 2; i++) {
      const connection = await take(connections)
      await new Promise<string>((done) => send(connection, '/', done, (chunk) => (bytes += chunk.length)))
      assert.equal(bytes, i * large.length)
    }
    assert.equal(connections.size, 1)
  })
}
