import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ServiceSource } from '../../src/openapi/document.ts'
import { preparePart, publish } from '../../src/openapi/publish.ts'

const settings = {
  info: { title: 'Shop', version: '1.0.0' },
  publicUrl: 'http://gateway.test',
  securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
}

function source(name: string, paths: object): ServiceSource {
  return {
    name,
    prefix: `/${name}`,
    stripPath: true,
    document: { openapi: '3.0.3', info: { title: name, version: '1' }, paths },
    origin: `http://${name}.test/openapi.json`,
    targetBasePath: '',
    routes: [],
    enforced: () => ({ security: [{ bearer: [] }], consumed: [], limited: false }),
  }
}

test('publishes one document for two services with the same paths, ids and tags', () => {
  const paths = {
    '/items': { get: { operationId: 'list', tags: ['items'], responses: { 200: { description: 'ok' } } } },
  }
  const parts = [preparePart(source('orders', paths)), preparePart(source('users', paths))]
  const { document } = publish(parts, settings)
  assert.deepEqual(Object.keys(document.paths as object), ['/orders/items', '/users/items'])
  assert.equal(JSON.stringify(publish(parts.reverse(), settings).document), JSON.stringify(document))
})
