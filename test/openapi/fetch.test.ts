import assert from 'node:assert/strict'
import type { LookupAddress, LookupOptions } from 'node:dns'
import type { LookupFunction } from 'node:net'
import { test } from 'node:test'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { reachOf } from '../../src/http/special-use.ts'
import { type Fetched, type FetchOptions, fetchDocument } from '../../src/openapi/fetch.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'
import { says, startBackend } from './backend.ts'

/** A name service of our own, and a note of what was asked. */
function names(table: Record<string, readonly string[]>) {
  const asked: string[] = []
  const lookup = ((
    name: string,
    _options: LookupOptions,
    callback: (error: Error | null, found: LookupAddress[]) => void,
  ) => {
    asked.push(name)
    const found = table[name] ?? []
    if (found.length === 0)
      return callback(Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: 'ENOTFOUND' }), [])
    callback(
      null,
      found.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    )
  }) as unknown as LookupFunction
  return { lookup, asked }
}

const trustLocal = { trusted: new Set(['127.0.0.1']) } satisfies FetchOptions

function failure(fetched: Fetched) {
  assert.equal(fetched.outcome, 'failed', JSON.stringify(fetched).slice(0, 200))
  return fetched
}

test('special-use addresses are told from public ones in every form', () => {
  const rows: Record<string, readonly string[]> = {
    public: ['8.8.8.8', '2606:4700::1', '::ffff:8.8.8.8', '93.184.216.34'],
    private: [
      '127.0.0.1',
      '127.255.0.9',
      '10.1.2.3',
      '172.16.0.1',
      '192.168.1.1',
      '100.64.0.1',
      '::1',
      'fd12::1',
      '::ffff:127.0.0.1',
      '::ffff:7f00:1',
      '0:0:0:0:0:ffff:10.0.0.1',
    ],
    never: [
      '169.254.169.254',
      '100.100.100.200',
      'fd00:ec2::254',
      '0.0.0.0',
      '::',
      '224.0.0.1',
      '255.255.255.255',
      '198.18.0.1',
      '192.0.2.1',
      '240.0.0.1',
      'fe80::1',
      'fe80::1%lo',
      '2002:7f00:1::',
      '64:ff9b::7f00:1',
      '::7f00:1',
      '2001:db8::1',
      '::ffff:169.254.169.254',
      'localhost',
      '',
      '127.0.0.1.nip.io',
    ],
  }
  for (const [reach, addresses] of Object.entries(rows))
    for (const address of addresses) assert.equal(reachOf(address), reach, address)
})

test('no URL of somebody else leads to a special-use address', { skip: skipWithoutShared }, async () => {
  const { lookup } = names({
    localhost: ['127.0.0.1'],
    'foo.localhost': ['127.0.0.1', '::1'],
    '127.0.0.1.nip.io': ['127.0.0.1'],
    'metadata.google.internal': ['169.254.169.254'],
    'ok.test': ['10.0.0.1'],
  })
  const { cases } = vectors('ssrf-urls.json') as { cases: readonly { id: string; url: string }[] }
  assert.equal(cases.length, 30)
  for (const { id, url } of cases) {
    // The last three describe a behaviour of the server; it is shown below, with real ones.
    const { kind, reason } = failure(await fetchDocument(url.replace(/ .*$/, ''), { lookup, timeout: 2_000 }))
    assert.equal(kind, 'refused', `${id} ${url}: ${reason}`)
    assert.ok(!/\d+\.\d+\.\d+|ok\.test|localhost/.test(reason), 'the reason names no address')
  }
})

test('a name must stand for fit addresses only, and the address that was checked is the one that is used', async () => {
  await using backend = await startBackend(says('{}'))
  const { port } = backend
  const at = (host: string) => `http://${host}:${port}/`
  const trusted = new Set(['orders.internal', 'rebound.internal'])

  const inside = names({ 'orders.internal': ['127.0.0.1'] })
  assert.equal((await fetchDocument(at('orders.internal'), { trusted, lookup: inside.lookup })).outcome, 'fetched')
  assert.deepEqual(inside.asked, ['orders.internal'], 'asked once')
  assert.equal(backend.requests.at(-1)?.headers.host, `orders.internal:${port}`)

  const { requests } = backend
  const before = requests.length
  const stranger = names({ 'orders.internal': ['127.0.0.1'] })
  assert.equal(failure(await fetchDocument(at('orders.internal'), { lookup: stranger.lookup })).kind, 'refused')
  const mixed = names({ 'docs.example': ['93.184.216.34', '127.0.0.1'] })
  assert.equal(failure(await fetchDocument(at('docs.example'), { lookup: mixed.lookup })).kind, 'refused')
  const rebound = names({ 'rebound.internal': ['169.254.169.254'] })
  assert.equal(
    failure(await fetchDocument(at('rebound.internal'), { trusted, lookup: rebound.lookup })).kind,
    'refused',
    'not even a trusted name is link-local',
  )
  assert.equal(requests.length, before, 'nobody was asked')
  assert.equal(failure(await fetchDocument(at('nobody.internal'), { lookup: names({}).lookup })).kind, 'down')
})

test('a redirect is not followed', async () => {
  await using target = await startBackend(says('{"secret":1}'))
  await using backend = await startBackend((_, response) => response.writeHead(302, { location: target.url }).end())
  const { reason, kind } = failure(await fetchDocument(backend.url, trustLocal))
  assert.equal(kind, 'answer')
  assert.match(reason, /redirect/)
  assert.equal(target.requests.length, 0)
  backend.answer((_, response) => response.writeHead(301, { location: '/' }).end())
  failure(await fetchDocument(backend.url, trustLocal))
  assert.equal(backend.requests.length, 2, 'nor retried')
})

test('bytes are counted after decompression, and counting stops at the limit', async () => {
  const zeros = Buffer.alloc(30 * 1_048_576)
  await using backend = await startBackend(says(gzipSync(zeros), { 'content-encoding': 'gzip' }))
  const before = process.memoryUsage().rss
  assert.match(
    failure(await fetchDocument(backend.url, { ...trustLocal, limit: 1_048_576 })).reason,
    /larger than 1 MB/,
  )
  backend.answer(says(brotliCompressSync(zeros), { 'content-encoding': 'br' }))
  assert.match(
    failure(await fetchDocument(backend.url, { ...trustLocal, limit: 1_048_576 })).reason,
    /larger than 1 MB/,
  )
  backend.answer((_, response) => {
    response.writeHead(200)
    const more = () => void (response.destroyed || response.write(zeros.subarray(0, 1_048_576), more))
    more()
  })
  assert.match(
    failure(await fetchDocument(backend.url, { ...trustLocal, limit: 5 * 1_048_576 })).reason,
    /larger than 5 MB/,
  )
  assert.ok(process.memoryUsage().rss - before < 100 * 1_048_576)
})

test('a compressed document is read, and its tag is sent the next time', async () => {
  const body = '{"openapi":"3.1.0"}'
  await using backend = await startBackend((request, response) => {
    if (request.headers['if-none-match'] === '"one"') return void response.writeHead(304).end()
    response.writeHead(200, { etag: '"one"', 'content-encoding': 'gzip' }).end(gzipSync(body))
  })
  const first = await fetchDocument(backend.url, trustLocal)
  assert.equal(first.outcome, 'fetched')
  assert.equal(first.bytes.toString(), body)
  assert.equal(first.etag, '"one"')
  assert.deepEqual(await fetchDocument(backend.url, { ...trustLocal, etag: first.etag }), { outcome: 'unchanged' })
  backend.answer((_, response) => response.writeHead(304).end())
  assert.equal(
    failure(await fetchDocument(backend.url, trustLocal)).kind,
    'answer',
    '304 to a question without a tag is no answer',
  )
})

test('a backend that is silent, drips or breaks off is given up in time', async () => {
  await using backend = await startBackend(() => {})
  const began = performance.now()
  assert.match(
    failure(await fetchDocument(backend.url, { ...trustLocal, timeout: 300 })).reason,
    /no complete answer within 300 ms/,
  )
  backend.answer((_, response) => {
    response.writeHead(200)
    const drip = setInterval(() => response.write(' '), 20)
    response.on('close', () => clearInterval(drip))
  })
  assert.match(failure(await fetchDocument(backend.url, { ...trustLocal, timeout: 300 })).reason, /no complete answer/)
  assert.ok(performance.now() - began < 3_000)
  backend.answer((_, response) => {
    response.writeHead(200, { 'content-length': '100' }).write('{')
    setTimeout(() => response.destroy(), 20)
  })
  assert.equal(failure(await fetchDocument(backend.url, trustLocal)).kind, 'down')
  const { url } = backend
  await backend.stop()
  assert.match(failure(await fetchDocument(url, trustLocal)).reason, /refused/)
})

test('answers other than 200 are no documents', async () => {
  await using backend = await startBackend((_, response) => response.writeHead(404).end('{}'))
  assert.deepEqual(
    [
      failure(await fetchDocument(backend.url, trustLocal)).kind,
      failure(await fetchDocument(backend.url, trustLocal)).reason,
    ],
    ['answer', 'the answer was 404'],
  )
  backend.answer((_, response) => response.writeHead(503).end())
  assert.equal(failure(await fetchDocument(backend.url, trustLocal)).kind, 'down')
  backend.answer((_, response) => response.writeHead(206).end('{}'))
  assert.equal(failure(await fetchDocument(backend.url, trustLocal)).kind, 'answer')
})

test('no credential and no cookie is sent', async () => {
  await using backend = await startBackend((_, response) => response.writeHead(200, { 'set-cookie': 'a=b' }).end('{}'))
  await fetchDocument(backend.url, trustLocal)
  await fetchDocument(backend.url, trustLocal)
  const { headers } = backend.requests[1]!
  assert.equal(headers.authorization ?? headers.cookie, undefined)
  assert.equal(headers['user-agent'], 'sallyport')
})
