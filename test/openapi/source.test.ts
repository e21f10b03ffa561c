import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { JsonObject } from '../../src/openapi/document.ts'
import { readDocument } from '../../src/openapi/read.ts'
import { createSource, locate, type SourceSettings, type SourceState } from '../../src/openapi/source.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'
import { silent } from '../../src/telemetry/log.ts'
import { says, startBackend, until } from './backend.ts'
import { api, ok } from './service.ts'

const one = JSON.stringify(api({ '/one': { get: { responses: ok } } }))
const two = JSON.stringify(api({ '/two': { get: { responses: ok } } }))

/** A source that reads with the real reader and remembers what happened. */
function watch(settings: Partial<SourceSettings> & Pick<SourceSettings, 'location'>, store?: Store) {
  const states: SourceState<JsonObject>[] = []
  const released: JsonObject[] = []
  let reads = 0
  const source = createSource<JsonObject>(
    { service: 'orders', ...settings },
    {
      now: Date.now,
      log: silent,
      ...(store && { store }),
      read(bytes, file) {
        reads += 1
        return readDocument(bytes, file === undefined ? undefined : { path: file, root: join(file, '..') })
      },
      release: (document) => released.push(document),
    },
  )
  source.onChange((state) => states.push(state))
  const paths = () => (source.state.status === 'absent' ? [] : Object.keys(source.state.document.paths as object))
  return { source, states, released, paths, reads: () => reads }
}

const target = (...urls: readonly string[]) =>
  ({ type: 'target', urls: urls.map((url) => `${url}/openapi.json`) }) as const

test('a document is a path on a target, a URL or a file', () => {
  assert.deepEqual(locate('/openapi.json', ['http://a:1', 'http://b:2/base/'], '/etc/shop'), {
    type: 'target',
    urls: ['http://a:1/openapi.json', 'http://b:2/base/openapi.json'],
  })
  assert.deepEqual(locate('https://docs.example/o.yaml', ['http://a:1'], '/etc/shop'), {
    type: 'url',
    url: 'https://docs.example/o.yaml',
  })
  assert.deepEqual(locate('./openapi/orders.yaml', [], '/etc/shop'), {
    type: 'file',
    file: '/etc/shop/openapi/orders.yaml',
  })
  assert.deepEqual(locate('orders.yaml', [], '/etc/shop'), { type: 'file', file: '/etc/shop/orders.yaml' })
})

test('a fresh document is asked for again by its tag, and read again only when it is another', async () => {
  let body = one
  await using backend = await startBackend((request, response) => {
    const etag = `"${body.length}"`
    if (request.headers['if-none-match'] === etag) return void response.writeHead(304).end()
    response.writeHead(200, { etag }).end(body)
  })
  const { source, states, released, paths, reads } = watch({ location: target(backend.url), interval: 30 })
  try {
    await source.ready
    assert.equal(source.state.status, 'fresh')
    assert.deepEqual(paths(), ['/one'])
    await until('asked three times', () => backend.requests.length >= 3)
    assert.equal(reads(), 1)
    assert.equal(states.length, 1)
    body = `${two} `
    await until('the new document is there', () => paths()[0] === '/two')
    assert.deepEqual([reads(), states.length, released.length], [2, 2, 1])
  } finally {
    await source.close()
  }
  assert.equal(released.length, 2, 'everything handed out was handed back')
})

test('a server without tags is not believed to have changed when its bytes are the same', async () => {
  await using backend = await startBackend(says(one))
  const { source, states, reads } = watch({ location: target(backend.url), interval: 20 })
  await until('asked three times', () => backend.requests.length >= 3)
  await source.close()
  assert.deepEqual([reads(), states.length], [1, 1])
})

test('a backend that comes up is noticed within two seconds, however long it was down', async () => {
  const first = await startBackend(says(one))
  const { port } = first
  await first.stop()
  const { source, paths } = watch({ location: target(`http://127.0.0.1:${port}`) })
  try {
    await source.ready
    assert.deepEqual(source.state, { status: 'absent', reason: 'the connection was refused' })
    await new Promise((resolve) => setTimeout(resolve, 1_200))
    await using _ = await startBackend(says(one), port)
    assert.ok((await until('noticed', () => paths()[0] === '/one', 4_000)) < 2_500)
  } finally {
    await source.close()
  }
})

test('what was good stays while the backend is away or talks nonsense, and is fresh again without another reading', async () => {
  await using backend = await startBackend(says(one))
  const { source, states, paths, reads } = watch({ location: target(backend.url), interval: 20 })
  try {
    await source.ready
    backend.answer(says('<html>maintenance</html>'))
    await until('stale', () => source.state.status === 'stale')
    assert.deepEqual(paths(), ['/one'])
    assert.match(source.state.status === 'stale' ? source.state.reason : '', /HTML or XML page/)
    backend.answer((_, response) => response.writeHead(500).end())
    await until('another reason', () => source.state.status === 'stale' && /500/.test(source.state.reason))
    backend.answer(says(one))
    await until('fresh again', () => source.state.status === 'fresh')
    assert.equal(reads(), 2, 'once the document, once the nonsense')
    assert.deepEqual(
      states.map(({ status }) => status),
      ['fresh', 'stale', 'stale', 'fresh'],
    )
  } finally {
    await source.close()
  }
})

test('the reason says what would be right and names no address', async () => {
  await using backend = await startBackend(says('x'))
  const { source } = watch({ location: target(backend.url), interval: 20 })
  const reasonFor = async (body: string) => {
    backend.answer(says(body))
    await source.refresh()
    assert.equal(source.state.status, 'absent')
    return source.state.status === 'absent' ? source.state.reason : ''
  }
  try {
    assert.match(await reasonFor('{"openapi":'), /not valid JSON.*\(line 1, column \d+\)/)
    assert.match(await reasonFor('a: b'), /neither "openapi" nor "swagger"/)
    assert.match(await reasonFor('{"openapi":"4.0.0"}'), /"4.0.0" is not supported/)
    assert.match(await reasonFor('openapi: 3.1'), /number 3.1.*quotes/)
    backend.answer((_, response) => response.writeHead(302, { location: 'http://10.0.0.1/login' }).end())
    await source.refresh()
    assert.deepEqual(source.state, {
      status: 'absent',
      reason: 'the answer was a redirect (302), which is not followed',
    })
  } finally {
    await source.close()
  }
})

test('refresh looks at once, and again when a look is under way', async () => {
  let hold: (() => void) | undefined
  let body = one
  await using backend = await startBackend((_, response) => {
    const text = body
    const send = () => response.writeHead(200).end(text)
    if (hold) send()
    else hold = send
  })
  const { source, paths } = watch({ location: target(backend.url), interval: 60_000 })
  try {
    await until('the first question has arrived', () => backend.requests.length === 1)
    body = two
    const refreshed = source.refresh()
    hold!()
    await refreshed
    assert.deepEqual(paths(), ['/two'], 'the question before the change is not the answer to this call')
    assert.equal(backend.requests.length, 2)
  } finally {
    await source.close()
  }
})

test('of several targets the first that answers is asked, and kept to', async () => {
  await using down = await startBackend(says(one))
  await down.stop()
  await using up = await startBackend(says(one))
  const { source, paths } = watch({ location: target(down.url, up.url), interval: 20 })
  try {
    await source.ready
    assert.deepEqual(paths(), ['/one'])
    await until('asked again', () => up.requests.length >= 3)
  } finally {
    await source.close()
  }
})

test('the last good copy survives a restart, and is marked with its age', async () => {
  const store = createMemoryStore({ now: Date.now, log: silent })
  await using backend = await startBackend(says(one))
  const before = watch({ location: target(backend.url) }, store)
  await before.source.ready
  await until('kept', () => before.states.length === 1)
  await before.source.close()
  await backend.stop()

  const after = watch({ location: target(backend.url) }, store)
  await after.source.ready
  const { state } = after.source
  assert.equal(state.status, 'stale')
  assert.deepEqual(after.paths(), ['/one'])
  assert.ok(
    state.status === 'stale' &&
      Math.abs(state.since - Date.now() / 1_000) < 30 &&
      state.reason === 'the connection was refused',
  )
  await using _ = await startBackend(says(one), backend.port)
  await until('fresh again', () => after.source.state.status === 'fresh')
  assert.equal(after.reads(), 1, 'the same bytes need no second reading')
  await after.source.close()

  const moved = watch({ location: target(`${backend.url}/v2`) }, store)
  backend.answer((_, response) => response.writeHead(404).end())
  await moved.source.close()
  await store.close()
})

test('a copy of another place is not used, and a store that fails harms nothing', async () => {
  const store = createMemoryStore({ now: Date.now, log: silent })
  await using backend = await startBackend(says(one))
  const first = watch({ location: target(backend.url) }, store)
  await first.source.ready
  await first.source.close()
  backend.answer((_, response) => response.writeHead(404).end())
  const moved = watch({ location: { type: 'url', url: `${backend.url}/elsewhere.json` } }, store)
  await moved.source.ready
  assert.equal(moved.source.state.status, 'absent')
  await moved.source.close()
  await store.close()

  const broken = {
    get: () => Promise.reject(new Error('down')),
    put: () => Promise.reject(new Error('down')),
  } as unknown as Store
  backend.answer(says(one))
  const careless = watch({ location: target(backend.url) }, broken)
  await careless.source.ready
  assert.equal(careless.source.state.status, 'fresh')
  await careless.source.close()
})

test('a local file is read, noticed when it changes, and may be missing', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-'))
  const file = join(folder, 'orders.yaml')
  const { source, paths, reads } = watch({ location: { type: 'file', file }, interval: 20 })
  try {
    await source.ready
    assert.deepEqual(source.state, { status: 'absent', reason: 'there is no such file' })
    await writeFile(file, 'openapi: 3.1.0\npaths: { /one: { $ref: ./one.yaml } }\n')
    await writeFile(join(folder, 'one.yaml'), 'get: { summary: first }\n')
    const summary = () =>
      source.state.status === 'absent'
        ? undefined
        : (source.state.document as { paths: { '/one': { get?: { summary: string } } } }).paths['/one'].get?.summary
    await until('read, with its parts', () => summary() === 'first')
    assert.deepEqual(paths(), ['/one'])
    await writeFile(join(folder, 'one.yaml'), 'get: { summary: second, deprecated: true }\n')
    await until('a part has changed', () => summary() === 'second')
    await writeFile(join(folder, 'one.yaml'), 'get: [\n')
    await until('a part is broken', () => source.state.status === 'stale')
    await writeFile(join(folder, 'one.yaml'), 'get: { summary: third }\n')
    await until('a part is whole again', () => source.state.status === 'fresh' && summary() === 'third')
    await new Promise((resolve) => setTimeout(resolve, 100))
    const reading = reads()
    await new Promise((resolve) => setTimeout(resolve, 200))
    assert.equal(reads(), reading, 'what does not change is not read')
    await writeFile(file, 'openapi: 3.1.0\npaths: [\n')
    await until('broken', () => source.state.status === 'stale')
    assert.match(source.state.status === 'stale' ? source.state.reason : '', /not valid YAML.*line 3/)
    assert.equal(summary(), 'third')
    await rm(file)
    await until('gone', () => source.state.status === 'stale' && /no such file/.test(source.state.reason))
  } finally {
    await source.close()
    await rm(folder, { recursive: true })
  }
})

test('a closed source asks nobody any more, also when a question was under way', async () => {
  await using backend = await startBackend(() => {})
  const { source, states } = watch({ location: target(backend.url) })
  await until('asked', () => backend.requests.length === 1)
  const began = performance.now()
  await source.close()
  assert.ok(performance.now() - began < 2_000, 'it does not wait for the answer')
  await source.refresh()
  await new Promise((resolve) => setTimeout(resolve, 400))
  assert.equal(backend.requests.length, 1)
  assert.equal(states.length, 0)
})

test('a store that is late is asked again, and what a closed source still reads is handed back', async () => {
  const kept = createMemoryStore({ now: Date.now, log: silent })
  await using backend = await startBackend(says(one))
  const first = watch({ location: target(backend.url) }, kept)
  await first.source.ready
  await first.source.close()
  await backend.stop()

  let down = true
  const late = {
    ...kept,
    get: (...parts: Parameters<Store['get']>) => (down ? Promise.reject(new Error('down')) : kept.get(...parts)),
  } as Store
  const { source, states } = watch({ location: target(backend.url) }, late)
  await source.ready
  assert.equal(source.state.status, 'absent')
  down = false
  await until('brought back', () => source.state.status === 'stale')
  assert.equal(states.length, 2)
  await source.close()
  await kept.close()

  const released: string[] = []
  let finish: (() => void) | undefined
  await using other = await startBackend(says(one))
  const slow = createSource<string>(
    { service: 'slow', location: target(other.url) },
    {
      now: Date.now,
      log: silent,
      read: () => new Promise((resolve) => (finish = () => resolve({ outcome: 'read', document: 'read' }))),
      release: (document) => released.push(document),
    },
  )
  await until('reading', () => finish !== undefined)
  const closing = slow.close()
  finish!()
  await closing
  assert.deepEqual(released, ['read'])
})
