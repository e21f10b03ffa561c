import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { LineWriter } from '../../src/telemetry/line-writer.ts'

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'lines-'))
  t.after(() => rmSync(path, { recursive: true }))
  return path
}

/** A pipe with both ends here, which says EAGAIN when it is full. */
function pipe(t: TestContext): number {
  const path = join(folder(t), 'pipe')
  execFileSync('mkfifo', [path])
  const descriptor = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  t.after(() => closeSync(descriptor))
  return descriptor
}

function read(descriptor: number): string {
  const piece = Buffer.alloc(65_536)
  let text = ''
  try {
    for (;;) text += piece.toString('latin1', 0, readSync(descriptor, piece))
  } catch {
    return text
  }
}

const line = (index: number) => `${String(index).padStart(8, '0')} ${'x'.repeat(90)}\n`
const lines = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => line(from + index)).join('')

describe('lines are written', () => {
  test('in order and whole, few after a moment, many at once', async (t) => {
    const path = join(folder(t), 'log')
    const descriptor = openSync(path, 'a')
    t.after(() => closeSync(descriptor))
    const writer = new LineWriter({ descriptor, most: 1_000_000, onRecovered: () => assert.fail() })
    writer.write(line(0))
    for (const end = Date.now() + 10_000; readFileSync(path, 'utf8') === '' && Date.now() < end; ) await sleep(10)
    assert.equal(readFileSync(path, 'utf8'), line(0))
    for (let index = 1; index < 2_000; index++) writer.write(line(index))
    await writer.flush()
    assert.ok(readFileSync(path, 'utf8') === lines(0, 2_000), 'all of them in order')
    assert.equal(writer.lost, 0)
  })

  test('by a pipe that was full, when it is read again; what was too much is counted and told once', async (t) => {
    const descriptor = pipe(t)
    const recovered: number[] = []
    const writer = new LineWriter({ descriptor, most: 100_000, onRecovered: (count) => recovered.push(count) })
    let written = 0
    while (writer.lost === 0) {
      for (let index = 0; index < 100; index++) writer.write(line(written++))
      await sleep(1)
    }
    const kept = written - writer.lost
    let text = ''
    for (const end = Date.now() + 10_000; recovered.length === 0 && Date.now() < end; ) {
      text += read(descriptor)
      await sleep(10)
    }
    text += read(descriptor)
    assert.ok(text === lines(0, kept), 'all of them in order')
    assert.deepEqual(recovered, [writer.lost])
  })

  test('as far as it goes when the process ends, also what waited to be tried again', async (t) => {
    const descriptor = pipe(t)
    const writer = new LineWriter({ descriptor, most: 1_000_000, onRecovered() {} })
    for (let index = 0; index < 2_000; index++) writer.write(line(index))
    await writer.flush()
    const before = read(descriptor)
    const all = lines(0, 2_000)
    assert.ok(before.length > 0 && before.length < all.length, 'the pipe takes a part')
    writer.flushSync(20)
    const text = before + read(descriptor)
    assert.ok(text.length > before.length, 'and another one at the end')
    assert.ok(all.startsWith(text), 'where the first one ended')
  })

  test('with an end to patience where nobody reads', (t) => {
    const writer = new LineWriter({ descriptor: pipe(t), most: 1_000_000, onRecovered() {} })
    for (let index = 0; index < 2_000; index++) writer.write(line(index))
    const began = performance.now()
    writer.flushSync(50)
    assert.ok(performance.now() - began < 10_000)
  })
})
