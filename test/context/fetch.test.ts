import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { describe, test } from 'node:test'
import { createContext } from '../../src/context/index.ts'
import { close, listen, openContext, type Received, recorder } from '../contracts/context.ts'

const noContext = createContext({ trusted: [/http:\/\/127\.0\.0\.1:\d+/] })

/** Fields that a connection or a clock decides. */
function comparable({ method, path, body, fields }: Received) {
  const { host: _host, connection: _connection, ...rest } = fields
  return { method, path, body, fields: rest }
}

describe('context.fetch follows redirects as the platform does', () => {
  const bodies = {
    'no body': undefined,
    text: 'three little words',
    'a form': new URLSearchParams({ a: '1', b: 'two' }),
    bytes: new TextEncoder().encode('three little words'),
    'a file': new Blob(['three little words'], { type: 'text/x-words' }),
  }
  for (const status of [300, 301, 302, 303, 304, 307, 308]) {
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'DELETE']) {
      for (const [name, body] of Object.entries(bodies)) {
        if ((body !== undefined) === (method === 'GET' || method === 'HEAD')) continue
        test(`${status} of ${method} with ${name}`, async () => {
          await using elsewhere = await recorder()
          await using here = await recorder((path) => {
            if (path === '/start') return { status, location: '/second' }
            if (path === '/second') return { status, location: `${elsewhere.origin}/third?x=1` }
            return undefined
          })
          const init = {
            method,
            headers: { authorization: 'Basic eDp5', cookie: 'a=b', 'x-own': 'kept', 'content-language': 'en' },
            ...(body !== undefined && { body }),
          }
          const seen = []
          for (const send of [fetch, noContext.fetch]) {
            const response = await send(`${here.origin}/start`, init)
            const text = await response.text()
            const { url, redirected, status: final } = response
            const hops = [...here.received.splice(0), ...elsewhere.received.splice(0)].map(comparable)
            seen.push({ text, url, redirected, final, hops })
          }
          assert.deepEqual(seen[1], seen[0])
        })
      }
    }
  }

  const refusals = {
    'an address that is no URL': 'http://[',
    'an address that is not HTTP': 'data:text/plain,hello',
    'a ring': '/start',
  }
  for (const [name, location] of Object.entries(refusals)) {
    test(`refuses ${name}`, async () => {
      await using here = await recorder(() => ({ status: 302, location }))
      for (const send of [fetch, noContext.fetch]) {
        await assert.rejects(send(`${here.origin}/start`), TypeError)
      }
      assert.equal(here.received.length % 2, 0, 'as many calls as the platform makes')
    })
  }

  test('does not send half of a stream that has been read already', async () => {
    await using here = await recorder((path) => (path === '/start' ? { status: 307, location: '/second' } : undefined))
    const body = () => new Blob(['three little words']).stream()
    for (const send of [fetch, noContext.fetch]) {
      await assert.rejects(send(`${here.origin}/start`, { method: 'POST', body: body(), duplex: 'half' }), TypeError)
    }
    assert.deepEqual(
      here.received.map(({ path }) => path),
      ['/start', '/start'],
    )
  })

  test('leaves redirects alone, or refuses them, when told to', async () => {
    await using here = await recorder(() => ({ status: 302, location: '/second' }))
    const response = await noContext.fetch(`${here.origin}/start`, { redirect: 'manual' })
    assert.equal(response.status, 302)
    assert.equal(response.redirected, false)
    await response.body?.cancel()
    await assert.rejects(noContext.fetch(`${here.origin}/start`, { redirect: 'error' }), TypeError)
    await assert.rejects(noContext.fetch(new Request(`${here.origin}/start`, { redirect: 'error' })), TypeError)
    assert.equal(here.received.length, 3)
  })

  test('does not wait for the body of a redirect, however long', async () => {
    const left = Promise.withResolvers<void>()
    const endless = createServer((request, response) => {
      if (request.url === '/start') {
        response.writeHead(302, { Location: '/second' }).write('and then ')
        response.on('close', left.resolve)
        setTimeout(() => left.reject(new Error('still connected')), 1_000).unref()
      } else response.end('arrived')
    })
    try {
      assert.equal(await (await noContext.fetch(`${await listen(endless)}/start`)).text(), 'arrived')
      await left.promise
    } finally {
      await close(endless)
    }
  })

  test('can be called off between two steps', async () => {
    const stop = new AbortController()
    await using here = await recorder((path) => {
      if (path === '/second') stop.abort(new Error('enough'))
      return { status: 302, location: path === '/start' ? '/second' : '/third' }
    })
    await assert.rejects(noContext.fetch(new Request(`${here.origin}/start`, { signal: stop.signal })), /enough/)
    assert.deepEqual(
      here.received.map(({ path }) => path),
      ['/start', '/second'],
    )
  })
})

describe('context.fetch takes what fetch takes', () => {
  test('a Request, its method, fields and body', async () => {
    await using here = await recorder()
    const context = openContext([here.origin])
    const request = new Request(`${here.origin}/thing`, { method: 'PUT', headers: { 'x-own': '1' }, body: 'words' })
    await context.run({ requestId: 'job-1' }, () => context.fetch(request))
    const { method, path, body, fields } = here.received[0]!
    assert.deepEqual({ method, path, body }, { method: 'PUT', path: '/thing', body: 'words' })
    assert.equal(fields['x-own'], '1')
    assert.equal(fields['x-request-id'], 'job-1')
    assert.equal(fields['content-type'], 'text/plain;charset=UTF-8')
  })

  test('a Request with options on top of it', async () => {
    await using here = await recorder()
    const context = openContext([here.origin])
    const request = new Request(here.origin, { method: 'PUT', headers: { 'x-own': '1' }, body: 'words' })
    await context.run({ requestId: 'job-1' }, () =>
      context.fetch(request, { method: 'POST', headers: { 'x-other': '2' }, body: 'other' }),
    )
    const { method, body, fields } = here.received[0]!
    assert.deepEqual({ method, body }, { method: 'POST', body: 'other' })
    assert.equal(fields['x-own'], undefined)
    assert.equal(fields['x-other'], '2')
    assert.equal(fields['x-request-id'], 'job-1')
  })

  test('a form with a file, whose boundary survives a redirect', async () => {
    await using here = await recorder((path) => (path === '/start' ? { status: 307, location: '/second' } : undefined))
    const body = new FormData()
    body.set('file', new File(['three little words'], 'words.txt'))
    await noContext.fetch(`${here.origin}/start`, { method: 'POST', body })
    for (const { fields, body } of here.received) {
      const boundary = /boundary=(.+)$/.exec(fields['content-type'] ?? '')?.[1]
      assert.ok(boundary && body.startsWith(`--${boundary}`), 'the body begins with its own boundary')
      assert.match(body, /three little words/)
    }
    assert.equal(here.received.length, 2)
  })

  test('and is a plain fetch outside a request', async () => {
    await using here = await recorder()
    await noContext.fetch(here.origin)
    assert.equal(here.received[0]?.fields['x-request-id'], undefined)
    assert.equal(here.received[0]?.fields['traceparent'], undefined)
  })
})
