import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, test } from 'node:test'
import { createFields } from '../../src/http/fields.ts'
import { createTracing, isTracestate, parseTraceparent } from '../../src/http/trace-context.ts'

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
const parentId = '00f067aa0ba902b7'
const valid = `00-${traceId}-${parentId}-01`

describe('traceparent', () => {
  test('is read strictly', () => {
    assert.deepEqual(parseTraceparent(valid), { traceId, parentId, sampled: true })
    assert.deepEqual(parseTraceparent(`00-${traceId}-${parentId}-00`), { traceId, parentId, sampled: false })
    assert.equal(parseTraceparent(`00-${traceId}-${parentId}-02`)?.sampled, false)
    assert.equal(parseTraceparent(`00-${traceId}-${parentId}-ff`)?.sampled, true)
    for (const text of [
      ...[
        '',
        'x',
        valid.toUpperCase(),
        ` ${valid}`,
        `${valid} `,
        `${valid}-`,
        `${valid}-00`,
        valid.slice(0, -1),
        `${valid}0`,
      ],
      ...[`ff-${traceId}-${parentId}-01`, `0-${traceId}-${parentId}-01`, `00-${'0'.repeat(32)}-${parentId}-01`],
      ...[
        `00-${traceId}-${'0'.repeat(16)}-01`,
        `00-${traceId}-${parentId}-0g`,
        `00-${traceId}${parentId}-01`,
        `00_${traceId}_${parentId}_01`,
      ],
    ]) {
      assert.equal(parseTraceparent(text), undefined, text)
    }
  })

  test('of a later version is read as far as version 00 goes', () => {
    assert.deepEqual(parseTraceparent(`01-${traceId}-${parentId}-01-what-ever`), { traceId, parentId, sampled: true })
    assert.deepEqual(parseTraceparent(`cc-${traceId}-${parentId}-01`), { traceId, parentId, sampled: true })
    assert.equal(parseTraceparent(`01-${traceId}-${parentId}-01x`), undefined)
  })
})

describe('tracestate', () => {
  test('is passed on when every member is well formed', () => {
    for (const text of [
      'a=b',
      'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE',
      'a=1 ,\tb=2',
      'fw529a3039@dt=x',
      '0a@b=c',
      'a=b c',
      'a=1,,b=2',
    ]) {
      assert.equal(isTracestate(text), true, text)
    }
    for (const text of [
      '',
      'a',
      'a=',
      '=b',
      'A=b',
      '0a=b',
      'a=b=c',
      'a=1,a=2',
      'a=é',
      'a@0=b',
      'a b=c',
      `a=${'x'.repeat(257)}`,
      ',',
    ]) {
      assert.equal(isTracestate(text), false, text)
    }
    const members = (count: number) => Array.from({ length: count }, (_, i) => `k${i}=v`).join(',')
    assert.equal(isTracestate(members(32)), true)
    assert.equal(isTracestate(members(33)), false)
  })
})

describe('a request', () => {
  const trace = createTracing(randomBytes)

  test('continues the trace of its caller with a span of its own', () => {
    const context = trace(createFields(['Traceparent', valid, 'tracestate', 'a=1', 'Tracestate', 'b=2']))
    assert.equal(context.traceId, traceId)
    assert.equal(context.parentId, parentId)
    assert.notEqual(context.spanId, parentId)
    assert.equal(context.traceparent, `00-${traceId}-${context.spanId}-01`)
    assert.equal(context.tracestate, 'a=1, b=2')
    assert.equal(trace(createFields(['traceparent', valid, 'tracestate', 'A=1'])).tracestate, undefined)
    assert.equal(trace(createFields(['traceparent', `00-${traceId}-${parentId}-00`])).sampled, false)
  })

  test('begins a trace where none or no valid one came', () => {
    for (const raw of [[], ['traceparent', 'x', 'tracestate', 'a=1'], ['traceparent', valid, 'traceparent', valid]]) {
      const context = trace(createFields(raw))
      assert.notEqual(context.traceId, traceId)
      assert.equal(context.parentId, undefined)
      assert.equal(context.tracestate, undefined)
      assert.deepEqual(parseTraceparent(context.traceparent), {
        traceId: context.traceId,
        parentId: context.spanId,
        sampled: true,
      })
    }
    assert.equal(createTracing(randomBytes, { sampled: false })(createFields([])).sampled, false)
  })

  test('never gets the same ids twice, nor all zeros', () => {
    const ids = new Set<string>()
    for (let i = 0; i < 1_000; i++) {
      const { traceId: id, spanId } = trace(createFields([]))
      ids.add(id).add(spanId)
    }
    assert.equal(ids.size, 2_000)
    let calls = 0
    const unlucky = createTracing((size) => new Uint8Array(size).fill(calls++ === 0 ? 0 : 7))
    assert.equal(unlucky(createFields([])).spanId, '0707070707070707')
  })
})
