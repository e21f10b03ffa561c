import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFields } from '../../src/http/fields.ts'
import { createVia } from '../../src/http/via.ts'

const via = createVia('a1')
const fields = (...values: string[]) => createFields(values.flatMap((value) => ['Via', value]))

test('names this gateway, and those of its kind that came before', () => {
  assert.equal(via(createFields([])), '1.1 sallyport-a1')
  assert.equal(
    via(fields('1.1 sallyport-b2, 1.0 sallyport-c3')),
    '1.1 sallyport-b2, 1.0 sallyport-c3, 1.1 sallyport-a1',
  )
})

test('leaves out what anybody else claims', () => {
  assert.equal(via(fields('admin', '1.1 evil.example (x), 1.1 sallyport-\u00e9', '1.1 google')), '1.1 sallyport-a1')
})

test('recognises a request that comes back, also by way of another gateway', () => {
  const other = createVia('b2')
  const sent = via(createFields([]))!
  assert.equal(via(fields(sent)), undefined)
  assert.equal(via(fields(other(fields(sent))!)), undefined)
})

test('recognises a loop through gateways that restart, by its length', () => {
  let value: string | undefined
  let hops = 0
  for (; hops < 100; hops++) {
    value = createVia(`h${hops}`)(value === undefined ? createFields([]) : fields(value))
    if (value === undefined) break
  }
  assert.equal(hops, 8)
})
