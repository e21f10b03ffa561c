import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { run } from '../../src/cli/run.ts'

async function init(folder: string, ...urls: string[]) {
  const lines = { out: [] as string[], err: [] as string[] }
  const config = join(folder, 'services.json')
  const code = await run(['init', ...urls, '--config', config], {
    environment: {},
    out: (text) => void lines.out.push(text),
    err: (text) => void lines.err.push(text),
  })
  return { code, config, err: lines.err.join('\n') }
}

describe('sallyport init', () => {
  test('writes a services.json that the gateway reads, one service for each document', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-init-'))
    t.after(() => rm(folder, { recursive: true }))
    const urls = [
      'http://orders:4001/openapi.json',
      'http://127.0.0.1:4002/docs?format=json',
      'https://api.example/Billing_v2/v1/openapi.yaml',
      'https://orders.example/openapi.json',
    ]
    const { code, config } = await init(folder, ...urls)
    assert.equal(code, 0)
    const { services, security } = JSON.parse(await readFile(config, 'utf8'))
    assert.deepEqual(services, [
      { name: 'orders', path: '/orders', targets: ['http://orders:4001'], openapi: '/openapi.json' },
      { name: 'service-4002', path: '/service-4002', targets: ['http://127.0.0.1:4002'], openapi: '/docs?format=json' },
      {
        name: 'billing-v2',
        path: '/billing-v2',
        targets: ['https://api.example'],
        openapi: '/Billing_v2/v1/openapi.yaml',
      },
      { name: 'orders-2', path: '/orders-2', targets: ['https://orders.example'], openapi: '/openapi.json' },
    ])
    assert.ok(security.length > 0, 'nothing is public unless somebody says so')

    const before = await readFile(config, 'utf8')
    const again = await init(folder, 'http://other:1/openapi.json')
    assert.equal(again.code, 1)
    assert.match(again.err, /is there already/)
    assert.equal(await readFile(config, 'utf8'), before)
  })

  test('says what a URL of a document looks like', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-init-'))
    t.after(() => rm(folder, { recursive: true }))
    for (const url of ['orders', 'ftp://orders/openapi.json', 'http://ada:secret@orders/openapi.json']) {
      const { code, err } = await init(folder, url)
      assert.equal(code, 2)
      assert.match(err, /http:\/\/127\.0\.0\.1:4001\/openapi\.json/)
    }
  })
})
