import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createLines } from '../../src/telemetry/logger.ts'

function linesOf(level: string | undefined, worker?: number) {
  const texts: string[] = []
  return { log: createLines(level, (line) => texts.push(line), worker), texts, read: () => texts.map(parsed) }
}

function parsed(line: string): Record<string, unknown> {
  assert(line.endsWith('\n') && line.indexOf('\n') === line.length - 1, line)
  return JSON.parse(line)
}

describe('a line of the log', () => {
  test('is one JSON object: level, time, facts in their order, message', () => {
    const { log, read, texts } = linesOf('info')
    log.info({ id: 'r-1', status: 200, ms: 0.1, subject: undefined, upstream: { attempts: 1 } }, 'request')
    assert.match(
      texts[0]!,
      /^\{"level":"info","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z","id":"r-1","status":200,"ms":0.1,"upstream":\{"attempts":1\},"message":"request"\}\n$/,
    )
    log.warn({}, 'a "word",\nand a lone surrogate \ud800')
    assert.equal(read()[1]!['message'], 'a "word",\nand a lone surrogate \ud800')
    assert.deepEqual(Object.keys(read()[1]!), ['level', 'time', 'message'])
  })

  test('tells which worker speaks', () => {
    const { log, read } = linesOf('info', 2)
    log.error({ port: 1 }, 'no')
    assert.deepEqual(Object.keys(read()[0]!), ['level', 'time', 'worker', 'port', 'message'])
    assert.equal(read()[0]!['worker'], 2)
  })

  test('is written from the chosen level on; another word chooses info', () => {
    const said = (level: string | undefined) => {
      const { log, read } = linesOf(level)
      for (const name of ['debug', 'info', 'warn', 'error'] as const) log[name]({}, name)
      return read().map(({ message }) => message)
    }
    assert.deepEqual(said('debug'), ['debug', 'info', 'warn', 'error'])
    assert.deepEqual(said('info'), ['info', 'warn', 'error'])
    assert.deepEqual(said('warn'), ['warn', 'error'])
    assert.deepEqual(said('error'), ['error'])
    assert.deepEqual(said('silent'), [])
    for (const other of [undefined, '', 'loud', 'constructor']) assert.deepEqual(said(other), said('info'))
  })

  test('tells of an error its name, message, code, stack and causes, and nothing that hangs on it', () => {
    const { log, read, texts } = linesOf('info')
    const cause = Object.assign(new RangeError('too far'), { request: { authorization: 'Bearer secret' } })
    const error = Object.assign(new Error('it failed', { cause }), {
      code: 'ECONNRESET',
      options: { password: 'secret' },
    })
    log.error({ err: error, target: 'a' }, 'no')
    const { err } = read()[0] as { err: Record<string, unknown> & { cause: Record<string, unknown> } }
    assert.deepEqual(Object.keys(err), ['name', 'message', 'code', 'stack', 'cause'])
    assert.deepEqual([err['name'], err['message'], err['code']], ['Error', 'it failed', 'ECONNRESET'])
    assert.deepEqual(Object.keys(err.cause), ['name', 'message', 'stack'])
    assert(!texts[0]!.includes('secret'))

    log.error({ err: 'a text' }, 'no')
    log.error({ err: undefined }, 'no')
    log.error({ err: Object.create(null) }, 'no')
    assert.equal(read()[1]!['err'], 'a text')
    assert(!('err' in read()[2]!))
    assert.equal(read()[3]!['err'], '(unwritable)')

    const round = new Error('round')
    round.cause = round
    log.error({ err: round }, 'no')
    assert(read()[4])
  })

  test('has all its other facts when one of them cannot be written', () => {
    const { log, read } = linesOf('info')
    const round: { self?: object } = {}
    round.self = round
    const rude = {
      toJSON() {
        throw Object.create(null)
      },
    }
    for (const fact of [round, 1n, rude])
      log.info({ id: 'r-1', err: new Error('why'), fact, none: undefined }, 'request')
    assert.equal(read().length, 3)
    for (const line of read()) {
      assert.deepEqual(Object.keys(line), ['level', 'time', 'id', 'err', 'fact', 'message'])
      assert.deepEqual([line['id'], line['fact'], line['message']], ['r-1', '(unwritable)', 'request'])
      assert.equal((line['err'] as Error).message, 'why')
    }
  })

  test('is JSON whatever facts are', () => {
    const { log, read } = linesOf('info')
    for (const facts of [new Date(0), ['a'], { toJSON: () => 'x' }, new Map([['a', 1]])]) log.info(facts, 'm')
    assert.deepEqual(
      read().map(({ level: _, time: __, ...rest }) => rest),
      [{ message: 'm' }, { 0: 'a', message: 'm' }, { message: 'm' }, { message: 'm' }],
    )
  })
})
