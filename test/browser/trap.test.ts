import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Browser } from 'playwright-core'
import { createInventory } from '../../examples/inventory/server.ts'
import { type DocsFiles, readDocsFiles } from '../../src/docs/docs-page.ts'
import { skipWithout } from '../requirements.ts'
import { authorize, execute, launchBrowser, noTrouble, openDocs } from './browser.ts'
import { serveDocs } from './docs-server.ts'

/** A document as many frameworks write it: the token is a required header parameter. */
function inventory(openapi: string, name: string) {
  return {
    openapi,
    info: { title: 'Inventory', version: '1.0.0' },
    paths: {
      '/items/{id}': {
        get: {
          operationId: 'getItem',
          tags: ['items'],
          parameters: [
            { name: 'id', in: 'path', required: true, schema: { type: 'string' } },
            { name, in: 'header', required: true, schema: { type: 'string' } },
          ],
          responses: { 200: { description: 'The item' }, 401: { description: 'Who are you?' } },
        },
      },
    },
  }
}

/** The same operation with the token where OpenAPI wants it. */
function repaired(openapi: string) {
  const document = inventory(openapi, 'Authorization')
  const { get } = document.paths['/items/{id}']
  get.parameters.pop()
  return {
    ...document,
    paths: { '/items/{id}': { get: { ...get, security: [{ bearer: [] }] } } },
    components: { securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } } },
  }
}

describe('a header parameter named Authorization', { skip: skipWithout('chromium') }, () => {
  let browser: Browser
  let files: DocsFiles
  before(async () => {
    browser = await launchBrowser()
    files = await readDocsFiles()
  })
  after(() => browser?.close())

  for (const openapi of ['3.0.3', '3.1.0']) {
    for (const name of ['Authorization', 'authorization']) {
      test(`is the trap: Swagger UI shows the field "${name}" of OpenAPI ${openapi} and never sends it`, async () => {
        const received: (string | undefined)[] = []
        await using server = await serveDocs(files, {
          documents: { '/openapi.json': inventory(openapi, name) },
          api: answerWhoCalls(received),
        })
        await using docs = await openDocs(browser, `${server.origin}/docs`)

        const executed = await execute(docs.page, 'getItem', { id: '7', [name]: 'Bearer token-1' })

        assert.deepEqual(received, [undefined])
        assert.equal(executed.status, 401)
        assert.equal(executed.sent['authorization'], undefined)
        assert.doesNotMatch(executed.curl, /authorization|token-1/i)
        assert.deepEqual(docs.trouble, noTrouble)
      })
    }

    test(`is sprung by a security scheme in its place (OpenAPI ${openapi})`, async () => {
      const received: (string | undefined)[] = []
      await using server = await serveDocs(files, {
        documents: { '/openapi.json': repaired(openapi) },
        api: answerWhoCalls(received),
      })
      await using docs = await openDocs(browser, `${server.origin}/docs`)

      await authorize(docs.page, 'bearer', { value: 'token-1' })
      const executed = await execute(docs.page, 'getItem', { id: '7' })

      assert.deepEqual(received, ['Bearer token-1'])
      assert.equal(executed.status, 200)
      assert.match(executed.curl, /-H 'Authorization: Bearer token-1'/)
      assert.deepEqual(docs.trouble, noTrouble)
    })
  }
})

describe('the inventory example, read from its own document', { skip: skipWithout('chromium') }, () => {
  test('answers 401 whatever is typed into its Authorization field', async () => {
    const document = JSON.parse(
      readFileSync(join(import.meta.dirname, '../../examples/inventory/openapi.json'), 'utf8'),
    )
    // The test's port instead of the one written down.
    delete document.servers
    const inventory = createInventory().callback()
    const received: (string | undefined)[] = []
    await using browser = await launchBrowser()
    await using server = await serveDocs(await readDocsFiles(), {
      documents: { '/openapi.json': document },
      api: (request, response) => {
        received.push(request.headers.authorization)
        void inventory(request, response)
      },
    })
    await using docs = await openDocs(browser, `${server.origin}/docs`)

    const executed = await execute(docs.page, 'list', { Authorization: 'Bearer token-1' })

    assert.deepEqual(received, [undefined])
    assert.equal(executed.status, 401)
    assert.match(executed.body, /Authorization header is missing/)
  })
})

/** Keeps each request's Authorization and answers 401 without one. */
function answerWhoCalls(received: (string | undefined)[]) {
  return (request: IncomingMessage, response: ServerResponse) => {
    received.push(request.headers.authorization)
    response.writeHead(request.headers.authorization ? 200 : 401, { 'Content-Type': 'application/json' })
    response.end('{"item":"7"}')
  }
}
