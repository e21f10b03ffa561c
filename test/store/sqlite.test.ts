import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { type Json, StoreUnavailable } from '../../src/store/store.ts'
import { silent } from '../../src/telemetry/log.ts'
import { storeContract } from '../contracts/store.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-sqlite-'))
const tools = { now: Date.now, log: silent }
const source = pathToFileURL(join(import.meta.dirname, '../../src/store/sqlite.ts')).href

/** Runs a script in another process, as another worker would; `store` is open in it. */
function worker(path: string, script: string, options: { uid?: number; gid?: number } = {}) {
  const code = `
    const { openSqliteStore } = await import(${JSON.stringify(source)})
    const log = { debug() {}, info() {}, warn() {}, error() {} }
    const say = (thing) => process.stdout.write(JSON.stringify(thing) + '\\n')
    let store
    try { store = openSqliteStore(${JSON.stringify(path)}, { now: Date.now, log }) }
    catch (error) { say(error.message); process.exit(1) }
    ${script}`
  return spawn(process.execPath, ['--input-type=module', '--eval', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
    ...options,
  })
}

async function outputOf(child: ReturnType<typeof worker>): Promise<unknown[]> {
  let text = ''
  child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  await once(child, 'close')
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as unknown)
}

after(() => rmSync(folder, { recursive: true, force: true }))

storeContract('sqlite', {
  open: (given) => openSqliteStore(join(folder, 'contract', 'store.db'), given),
  shared: true,
})

describe('the store file', () => {
  test('is made with its folder, for its owner alone', async () => {
    const path = join(folder, 'new', 'deep', 'store.db')
    const store = openSqliteStore(path, tools)
    await store.put('test', 'a', 1)
    assert.equal(store.durable, true)
    assert.equal(statSync(join(folder, 'new')).mode & 0o777, 0o700)
    assert.equal(statSync(join(folder, 'new', 'deep')).mode & 0o777, 0o700)
    for (const suffix of ['', '-wal', '-shm']) assert.equal(statSync(path + suffix).mode & 0o777, 0o600, suffix)
    await store.close()
  })

  test('keeps everything from one opening to the next', async () => {
    const path = join(folder, 'kept.db')
    const first = openSqliteStore(path, tools)
    await first.put('test', 'a', { n: 1 }, { group: 'g', expiresAt: 4_000_000_000 })
    const before = await first.get('test', 'a')
    await first.close()
    const second = openSqliteStore(path, tools)
    assert.deepEqual(await second.get('test', 'a'), before)
    await second.put('test', 'a', 2)
    assert.ok((await second.get('test', 'a'))!.revision > before!.revision)
    await second.close()
  })

  test('drops expired rows when it is opened', async () => {
    const path = join(folder, 'expired.db')
    const first = openSqliteStore(path, tools)
    await first.put('test', 'a', 1, { expiresAt: Date.now() / 1_000 - 1 })
    await first.close()
    await openSqliteStore(path, tools).close()
    const raw = new DatabaseSync(path)
    assert.equal(raw.prepare('SELECT count(*) AS n FROM entries').get()?.['n'], 0)
    raw.close()
  })

  test('is refused with a reason when it is damaged, foreign, newer, locked, or no database', async (t) => {
    const refuses = (path: string, reason: RegExp) =>
      assert.throws(
        () => openSqliteStore(path, tools),
        (error: unknown) => {
          assert.ok(error instanceof StoreUnavailable)
          assert.equal(error.lasting, true, 'another try would find the same')
          assert.match(error.message, reason)
          assert.ok(error.message.includes(path))
          return true
        },
      )
    await t.test('no database', () => {
      const path = join(folder, 'text.db')
      writeFileSync(path, 'just some text, and a good deal of it, that somebody put here')
      refuses(path, /is not a SQLite database/)
      assert.match(readFileSync(path, 'utf8'), /^just some text/)
    })
    await t.test('a folder', () => refuses(folder, /cannot be opened/))
    await t.test('a file where the folder should be', () => {
      writeFileSync(join(folder, 'file'), '')
      refuses(join(folder, 'file', 'store.db'), /cannot be opened/)
    })
    await t.test('of another program', () => {
      const path = join(folder, 'foreign.db')
      const foreign = new DatabaseSync(path)
      foreign.exec('CREATE TABLE songs (title)')
      foreign.close()
      refuses(path, /is the database of another program/)
    })
    await t.test('newer', async () => {
      const path = join(folder, 'newer.db')
      await openSqliteStore(path, tools).close()
      const newer = new DatabaseSync(path)
      newer.exec('PRAGMA user_version = 7')
      newer.close()
      refuses(path, /written by a newer Sallyport: it has version 7/)
    })
    await t.test('damaged', async () => {
      const path = join(folder, 'damaged.db')
      const store = openSqliteStore(path, tools)
      for (let n = 0; n < 200; n += 1) await store.put('test', String(n), 'x'.repeat(200))
      await store.close()
      const bytes = readFileSync(path)
      bytes.fill(0x5a, 4_096, bytes.length - 2_000)
      writeFileSync(path, bytes)
      refuses(path, /is damaged/)
    })
  })

  test('is refused when it is read-only', async () => {
    const path = join(folder, 'read-only', 'store.db')
    await openSqliteStore(path, tools).close()
    chmodSync(path, 0o444)
    chmodSync(join(folder, 'read-only'), 0o555)
    chmodSync(folder, 0o755)
    // The superuser may write everywhere, so nobody tries.
    const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}
    const [message] = await outputOf(worker(path, 'say("opened")', nobody))
    assert.match(String(message), /cannot be opened: EACCES/)
    chmodSync(join(folder, 'read-only'), 0o755)
  })

  test('held by another process makes a call fail in time, and work again afterwards', async () => {
    const path = join(folder, 'locked.db')
    const store = openSqliteStore(path, tools)
    const intruder = new DatabaseSync(path)
    intruder.exec('BEGIN IMMEDIATE')
    const started = performance.now()
    await assert.rejects(store.put('test', 'a', 1), (error: unknown) => {
      assert.ok(error instanceof StoreUnavailable)
      return /is locked by another process/.test(error.message)
    })
    const took = performance.now() - started
    assert.ok(took < 400, `${took} ms`)
    assert.equal(await store.get('test', 'a'), undefined, 'reading goes on')
    intruder.exec('COMMIT')
    await store.put('test', 'a', 1)
    intruder.close()
    await store.close()
  })
})

describe('several processes with one file', () => {
  test('open it at the same moment, and lose no update', async () => {
    const path = join(folder, 'workers.db')
    const script = `
      let failures = 0
      for (let n = 0; n < 25; n += 1) {
        for (;;) {
          if (await store.create('count', 'all', 1)) break
          const { value, revision } = await store.get('count', 'all')
          if (await store.replace('count', 'all', revision, value + 1)) break
          failures += 1
        }
      }
      say('done'); await store.close()`
    const outputs = await Promise.all([1, 2, 3].map(() => outputOf(worker(path, script))))
    assert.deepEqual(outputs, [['done'], ['done'], ['done']])
    const store = openSqliteStore(path, tools)
    assert.equal((await store.get('count', 'all'))?.value, 75)
    await store.close()
  })

  test('hear each other within a second', async () => {
    const path = join(folder, 'messages.db')
    const store = openSqliteStore(path, tools)
    const heard: { message: Json; at: number }[] = []
    const stop = store.subscribe('news', (message) => heard.push({ message, at: Date.now() }))
    await outputOf(worker(path, `await store.publish('news', { sent: Date.now() }); await store.close()`))
    const end = Date.now() + 2_000
    while (heard.length === 0 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20))
    assert.equal(heard.length, 1)
    const { message, at } = heard[0]!
    assert.ok(at - (message as { sent: number }).sent < 1_000)
    stop()
    await store.close()
  })

  test('say when messages were lost while they were held up', async () => {
    let offset = 0
    const clock = { now: () => Date.now() + offset, log: silent }
    const path = join(folder, 'gap.db')
    const store = openSqliteStore(path, clock)
    let missed = 0
    const heard: Json[] = []
    store.subscribe(
      'news',
      (message) => heard.push(message),
      () => {
        missed += 1
      },
    )
    // All of it before the first poll: two messages of another process, the older one already cleaned away.
    const raw = new DatabaseSync(path)
    raw.exec(
      "INSERT INTO messages (sender, channel, body, sent_at) VALUES ('x', 'news', '1', 0), ('x', 'news', '2', 9e9)",
    )
    raw.exec('DELETE FROM messages WHERE sent_at = 0')
    raw.close()
    offset = 1
    const end = Date.now() + 2_000
    while (heard.length === 0 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20))
    assert.deepEqual(heard, [2])
    assert.equal(missed, 1)
    await store.close()
  })

  test('lose nothing that was acknowledged when one is killed', async () => {
    const path = join(folder, 'killed.db')
    const child = worker(
      path,
      `for (let n = 0; ; n += 1) { await store.put('test', String(n).padStart(6, '0'), n); say(n) }`,
    )
    let last = -1
    let rest = ''
    child.stdout!.setEncoding('utf8').on('data', (chunk: string) => {
      rest += chunk
      const lines = rest.split('\n')
      rest = lines.pop()!
      if (lines.length > 0) last = Number(lines.at(-1))
      if (last >= 50) child.kill('SIGKILL')
    })
    await once(child, 'close')
    const store = openSqliteStore(path, tools)
    const kept = await store.list('test')
    assert.ok(last >= 50)
    assert.ok(kept.length > last, `${kept.length} kept, ${last + 1} acknowledged`)
    await store.close()
  })
})
