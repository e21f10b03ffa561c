import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startBackend } from '../backend.ts'
import { eventually, startGateway } from '../sallyport.ts'

test('what a document lists is served also where parameters fill a part of a segment, and nothing beside it', async () => {
  const parameter = (name: string) => ({ name, in: 'path', required: true, schema: { type: 'string' } })
  const operation = (...names: string[]) => ({
    parameters: names.map(parameter),
    responses: { 200: { description: 'done' } },
  })
  await using backend = await startBackend((req, res) => {
    res.setHeader('Content-Type', 'application/json')
    if (req.url !== '/openapi.json') return res.end('{}')
    res.end(
      JSON.stringify({
        openapi: '3.1.0',
        info: { title: 'Files', version: '1' },
        paths: {
          '/files/{name}.json': { get: operation('name') },
          '/jobs/{id}:cancel': { post: operation('id') },
          '/days/{from}-{to}': { get: operation('from', 'to') },
        },
      }),
    )
  })
  await using gateway = await startGateway({
    services: [{ name: 'files', path: '/f', targets: [backend.url], expose: 'documented', security: [] }],
  })
  const status = async (method: string, path: string) => (await fetch(gateway.url + path, { method })).status
  await eventually('the document has been read', async () => (await status('GET', '/f/files/a.json')) === 200)
  assert.equal(await status('POST', '/f/jobs/7:cancel'), 200)
  assert.equal(await status('POST', '/f/jobs/7%3Acancel'), 200)
  assert.equal(await status('GET', '/f/jobs/7:cancel'), 405)
  assert.equal(await status('POST', '/f/jobs/7:delete'), 404)
  assert.equal(await status('GET', '/f/files/a.xml'), 404)
  assert.equal(await status('GET', '/f/days/1-2'), 200)
  assert.equal(await status('GET', '/f/days/1'), 404)
})
