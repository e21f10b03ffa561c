import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { getPriority, tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { test } from 'node:test'
import { beginThread, createPress, type Press, type PressDocument } from '../../src/openapi/press.ts'
import type { ReadOrder } from '../../src/openapi/press-work.ts'
import { createServiceDocument } from '../../src/openapi/service-document.ts'
import { type Log, silent } from '../../src/telemetry/log.ts'
import { sharedPath, skipWithoutShared } from '../vectors.ts'
import { says, startBackend, until } from './backend.ts'
import { api, byBearer, type Loose, ok, settings } from './service.ts'

const tools = { now: Date.now, log: silent }

const order = (name: string, document: object | undefined, rest: Partial<ReadOrder> = {}): ReadOrder => ({
  service: {
    name,
    prefix: `/${name}`,
    stripPath: true,
    origin: `${name}.json`,
    targetBasePath: '',
    routes: [{ method: 'GET', path: '/from-routes' }],
  },
  bytes: document === undefined ? undefined : Buffer.from(JSON.stringify(document)),
  ...rest,
})

async function reading(press: Press, made: ReadOrder): Promise<PressDocument> {
  const answer = await press.read(made)
  assert.equal(answer.outcome, 'read', JSON.stringify(answer))
  return answer.document
}

const enforced = () => byBearer
const pathsIn = (bytes: Buffer) => Object.keys((JSON.parse(bytes.toString()) as Loose).paths)

/** Linux counts a priority for each thread (proc_pid_stat(5), `nice`). */
const priorities = () =>
  readdirSync('/proc/self/task').map((task) =>
    Number(readFileSync(`/proc/self/task/${task}/stat`, 'utf8').split(') ').at(-1)!.split(' ')[16]),
  )

test('a press that has published once stands behind the thread that answers requests', {
  skip: process.platform !== 'linux' && 'a priority for each thread is a thing of Linux',
}, async (t) => {
  const press = createPress({}, tools)
  t.after(() => press.close())
  const before = getPriority(0)
  const document = await reading(press, order('one', api({ '/x': { get: { responses: ok } } })))
  // The start waits for the first one.
  assert(priorities().every((priority) => priority === before))
  await press.publish([{ document, enforced }], settings)
  await until('one stands behind', () => before >= 5 || priorities().filter((priority) => priority === 5).length === 1)
  assert.equal(getPriority(0), before)
})

test('a press takes a thread that has begun before it, and another one for a thread that has ended', async () => {
  for (const end of [false, true]) {
    const thread = beginThread()
    if (end) await thread.terminate()
    const press = createPress({ thread }, tools)
    try {
      const { operations } = await reading(press, order('one', undefined))
      assert.equal(operations.length, 1)
      assert.equal(thread.threadId === -1, end)
    } finally {
      await press.close()
    }
    assert.equal(thread.threadId, -1)
  }
})

test('a press prints the same in a thread and in place', async () => {
  const printed: string[] = []
  for (const thread of [true, false]) {
    const press = createPress({ thread }, tools)
    try {
      const one = await reading(press, order('one', api({ '/x': { get: { responses: ok } } })))
      const two = await reading(press, order('two', undefined))
      assert.deepEqual(one.operations, [
        {
          method: 'GET',
          path: '/x',
          published: '/one/x',
          operationId: 'one_get_x',
          variant: false,
          authorization: false,
        },
      ])
      const asked: string[] = []
      const { json, yaml, byService, findings } = await press.publish(
        [
          {
            document: one,
            enforced(method, path) {
              asked.push(`${method} ${path}`)
              return byBearer
            },
          },
          { document: two, enforced, stale: { reason: 'the answer was 404' } },
        ],
        settings,
      )
      assert.deepEqual(asked, ['GET /x'])
      assert.deepEqual(pathsIn(json.body), ['/one/x', '/two/from-routes'])
      assert.deepEqual(pathsIn(byService.get('two')!.body), ['/two/from-routes'])
      assert.ok(Buffer.isBuffer(json.gzip) && yaml.body.toString().startsWith('openapi: 3.1.1'))
      assert.deepEqual(findings, [])
      printed.push(json.etag, byService.get('one')!.etag, yaml.etag)
    } finally {
      await press.close()
    }
  }
  assert.deepEqual(printed.slice(0, 3), printed.slice(3))
})

test('what is unchanged is not worked through again, and what is published twice is the same', async () => {
  const press = createPress({}, tools)
  try {
    const one = await reading(press, order('one', api({ '/x': { get: { responses: ok } } })))
    const two = await reading(press, order('two', api({ '/x': { get: { responses: ok } } })))
    const first = await press.publish(
      [
        { document: one, enforced },
        { document: two, enforced },
      ],
      settings,
    )
    const again = await press.publish(
      [
        { document: one, enforced },
        { document: two, enforced },
      ],
      settings,
    )
    assert.equal(again.json.etag, first.json.etag)
    assert.deepEqual(again.byService.get('one')!.body, first.byService.get('one')!.body)
    const opened = await press.publish(
      [
        { document: one, enforced: () => ({ security: [], consumed: [], limited: false }) },
        { document: two, enforced },
      ],
      settings,
    )
    assert.notEqual(opened.json.etag, first.json.etag)
    assert.notEqual(opened.byService.get('one')!.etag, first.byService.get('one')!.etag)
    assert.equal(opened.byService.get('two')!.etag, first.byService.get('two')!.etag)
    one.release()
    await assert.rejects(press.publish([{ document: one, enforced }], settings), /nothing was read/)
    assert.deepEqual(pathsIn((await press.publish([{ document: two, enforced }], settings)).json.body), ['/two/x'])
  } finally {
    await press.close()
  }
})

test('a document of eleven megabytes is worked through while the loop stays free', {
  skip: skipWithoutShared,
}, async () => {
  const press = createPress({}, tools)
  try {
    await reading(press, order('warm', api({})))
    const bytes = readFileSync(sharedPath('corpus', 's30-github-ghes-3.19.json'))
    const before = performance.eventLoopUtilization()
    const document = await reading(press, order('github', undefined, { bytes }))
    const { json } = await press.publish([{ document, enforced }], settings)
    const { active, idle, utilization } = performance.eventLoopUtilization(before)
    assert.equal(document.operations.length, 1_039)
    assert.ok(json.body.length > 5_000_000 && json.brotli.length < 500_000)
    // In place it is above 0.9. Other tests share the machine, so the share counts and not the time.
    assert.ok(utilization < 0.35, `${Math.round(active)} ms busy, ${Math.round(idle)} ms free`)
  } finally {
    await press.close()
  }
})

test('a document that takes too much is given up; what was read before is still there', {
  skip: skipWithoutShared,
}, async () => {
  const lost: string[] = []
  const log: Log = { ...silent, error: (_, message) => lost.push(message) }
  const press = createPress({ memory: 16 }, { now: Date.now, log })
  try {
    const before = await reading(press, order('before', api({ '/x': { get: { responses: ok } } })))
    const [huge, after] = await Promise.all([
      press.read(order('huge', undefined, { bytes: readFileSync(sharedPath('corpus', 's30-github-ghes-3.19.json')) })),
      press.read(order('after', api({ '/y': { get: { responses: ok } } }))),
    ])
    assert.equal(huge.outcome, 'unreadable')
    assert.ok(huge.outcome === 'unreadable' && huge.mistake.code === 'too-much')
    assert.ok(after.outcome === 'read')
    const { json } = await press.publish(
      [
        { document: before, enforced },
        { document: after.document, enforced },
      ],
      settings,
    )
    assert.deepEqual(pathsIn(json.body), ['/after/y', '/before/x'])
    assert.equal(lost.length, 1)
  } finally {
    await press.close()
  }
})

test('an order that costs too much is given up with its thread, and so is one about which nothing is done', async () => {
  for (const [settings, message] of [
    [{ patience: 1 }, /took longer than 0\.001 s of processor/],
    [{ patience: 10, measure: async () => 7, stillness: 20 }, /nothing was done about it for 0\.02 s/],
    [{ patience: 10, measure: () => new Promise<never>(() => {}), stillness: 20 }, /nothing was done about it/],
  ] as const) {
    const press = createPress(settings, tools)
    try {
      const late = await press.read(order('late', api({})))
      assert.ok(late.outcome === 'unreadable')
      assert.match(late.mistake.message, message)
    } finally {
      await press.close()
    }
  }
})

test('the clock of a busy machine does not count: a thread that gets little of the processor has its time', async () => {
  let asked = 0
  // Far beyond its patience by the clock; what it has used before the order does not count either.
  const measure = async () => {
    asked += 1
    return 1_000 + asked / 10_000
  }
  const press = createPress({ patience: 1, measure }, tools)
  try {
    await reading(press, order('slow', api({ '/x': { get: { responses: ok } } })))
    assert.ok(asked > 3, `${asked} looks`)
  } finally {
    await press.close()
  }
})

test('what is lost with a thread and cannot be read again is tried again, and then left out with a finding', async () => {
  let clock = 0
  let busy = false
  const measure = async () => {
    if (busy) clock += 100
    return clock
  }
  const press = createPress({ patience: 5, measure }, tools)
  const many = Array.from({ length: 3_000 }, (_, index) => [`/${index}`, { get: { responses: ok } }])
  const victim = order('victim', api(Object.fromEntries(many)))
  const fails = async () => {
    busy = true
    assert.equal((await press.read(victim)).outcome, 'unreadable')
    // Behind all that is brought back: each time in a thread of its own, and each is lost.
    await assert.rejects(press.publish([], settings), /took longer/)
    busy = false
  }
  try {
    const one = await reading(press, order('one', api({ '/x': { get: { responses: ok } } })))
    const first = await press.publish([{ document: one, enforced }], settings, true)
    const shown = { services: new Map([['one', new Set(['GET /one/x'])]]), own: new Set<string>() }
    await fails()
    const { json, findings } = await press.publish([{ document: one, enforced }], settings)
    assert.deepEqual(pathsIn(json.body), ['/one/x'])
    assert.deepEqual(findings, [])
    assert.deepEqual(pathsIn((await press.view(first, shown, 'json'))!.body), ['/one/x'])
    assert.equal((await press.contract(one, 0)).parameters.length, 0)

    await fails()
    busy = true
    for (let tries = 1; tries < 3; tries += 1)
      await assert.rejects(press.publish([{ document: one, enforced }], settings), /took longer/)
    busy = false
    const two = await reading(press, order('two', api({ '/y': { get: { responses: ok } } })))
    const parts = [one, two].map((document) => ({ document, enforced }))
    const without = await press.publish(parts, settings)
    assert.deepEqual(pathsIn(without.json.body), ['/two/y'])
    assert.deepEqual(
      without.findings.map(({ service, severity, code }) => [service, severity, code]),
      [['one', 'error', 'lost']],
    )
  } finally {
    await press.close()
  }
})

test('a press that closes lets nobody wait', async () => {
  const press = createPress({}, tools)
  const pending = assert.rejects(press.publish([], settings), /closed/)
  await press.close()
  await pending
  await assert.rejects(press.publish([], settings), /closed/)
})

test('a service has something to publish at every moment, from its routes to its document and back to the last copy', async () => {
  const press = createPress({ thread: false }, tools)
  await using backend = await startBackend((_, response) => response.writeHead(404).end())
  const { service } = order('orders', undefined)
  const document = await createServiceDocument(
    { service, location: { type: 'target', urls: [`${backend.url}/openapi.json`] }, interval: 20 },
    { ...tools, press },
  )
  let changes = 0
  document.onChange(() => (changes += 1))
  const shown = async () => {
    const { json } = await press.publish([{ ...document.part, enforced }], settings)
    return pathsIn(json.body)
  }
  try {
    await document.ready
    assert.deepEqual(document.state, { status: 'absent', reason: 'the answer was 404' })
    assert.deepEqual(await shown(), ['/orders/from-routes'])
    assert.deepEqual(document.part.stale, { reason: 'the answer was 404' })
    backend.answer(says(JSON.stringify(api({ '/x': { get: { responses: ok } } }))))
    await document.refresh()
    assert.equal(document.state.status, 'fresh')
    assert.ok(!('reason' in (document.part.stale ?? {})))
    assert.deepEqual(await shown(), ['/orders/x'])
    backend.answer((_, response) => response.writeHead(500).end())
    await until('stale', () => document.state.status === 'stale')
    assert.deepEqual(await shown(), ['/orders/x'])
    assert.equal(document.part.stale?.reason, 'the answer was 500')
    assert.ok(changes >= 3)
  } finally {
    await document.close()
    await press.close()
  }
})

test('a service without a document is described by its routes and asks nobody', async () => {
  const press = createPress({ thread: false }, tools)
  const { service } = order('plain', undefined)
  const document = await createServiceDocument({ service, location: undefined }, { ...tools, press })
  await document.ready
  assert.deepEqual(document.state, { status: 'none' })
  assert.equal(document.part.stale, undefined)
  assert.deepEqual(
    document.part.document.operations.map(({ path }) => path),
    ['/from-routes'],
  )
  await document.close()
  await press.close()
})

test('a local document is put together from its files, in a thread as well', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-'))
  const press = createPress({}, tools)
  try {
    await writeFile(
      join(folder, 'api.yaml'),
      'openapi: 3.1.0\ninfo: { title: t, version: "1" }\npaths: { /x: { $ref: ./x.yaml } }\n',
    )
    await writeFile(join(folder, 'x.yaml'), 'get: { operationId: getX, responses: { 200: { description: ok } } }\n')
    const { service } = order('files', undefined)
    const file = join(folder, 'api.yaml')
    const document = await createServiceDocument(
      { service, location: { type: 'file', file }, root: folder },
      { ...tools, press },
    )
    await document.ready
    assert.deepEqual(
      document.part.document.operations.map(({ operationId }) => operationId),
      ['files_getX'],
    )
    await document.close()
  } finally {
    await press.close()
    await rm(folder, { recursive: true })
  }
})
