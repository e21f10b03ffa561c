import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Router } from '../../src/gateway/router.ts'

function table(entries: Record<string, string>): Router<string> {
  const router = new Router<string>()
  for (const [match, value] of Object.entries(entries)) {
    const [method, template] = match.split(' ') as [string, string]
    assert.equal(router.add(method, template, value), undefined)
  }
  return router
}

describe('the table of routes', () => {
  const router = table({
    '* /orders': 'service',
    '* /orders/*': 'service',
    'GET /orders/health': 'health',
    'DELETE /orders/{id}': 'delete',
    'GET /orders/{id}/lines/{line}': 'line',
    '* /orders/me': 'me',
    'POST /orders/admin/*': 'admin',
    'POST /orders/a:b': 'colon',
  })
  const cases: [string, string, string | undefined][] = [
    ['GET', '/orders', 'service'],
    ['GET', '/orders/', 'service'],
    ['GET', '/orders/1', 'service'],
    ['DELETE', '/orders/1', 'delete'],
    ['DELETE', '/orders/1/', 'delete'],
    ['DELETE', '/orders/health', 'delete'],
    ['GET', '/orders/health', 'health'],
    ['HEAD', '/orders/health', 'health'],
    ['POST', '/orders/health', 'service'],
    ['GET', '/orders/HEALTH', 'health'],
    ['GET', '/orders/he%61lth', 'health'],
    ['POST', '/orders/a%3Ab', 'colon'],
    ['POST', '/orders/a%3ab', 'colon'],
    ['DELETE', '/orders/me', 'me'],
    ['GET', '/orders/1/lines/2', 'line'],
    ['GET', '/orders/1/lines', 'service'],
    ['POST', '/orders/admin/users/1', 'admin'],
    ['POST', '/orders/ADMIN/users/1', 'admin'],
    ['GET', '/orders/admin/users/1', 'service'],
    ['GET', '/order', undefined],
    ['GET', '/ordersx', undefined],
    ['GET', '/', undefined],
  ]
  for (const [method, path, expected] of cases) {
    test(`${method} ${path} is answered by ${expected ?? 'nobody'}`, () => {
      assert.equal(router.match(method, path)?.value, expected)
    })
  }

  test('parameters come back raw and in order', () => {
    const found = router.match('GET', '/orders/a%2Cb/lines/7')
    assert.deepEqual(found?.names, ['id', 'line'])
    assert.deepEqual(found?.segments, ['a%2Cb', '7'])
  })

  test('a branch that was left leaves no parameter behind', () => {
    assert.deepEqual(router.match('GET', '/orders/1/other')?.segments, [])
  })

  test('a service at the root answers for everything, the root included', () => {
    const root = table({ '* /': 'root', '* /*': 'root', '* /a/b': 'ab' })
    for (const path of ['/', '/x', '/a', '/a/b/c']) assert.equal(root.match('GET', path)?.value, 'root')
    assert.equal(root.match('GET', '/a/b')?.value, 'ab')
  })

  test('the same shape twice is reported, whatever the parameters are called', () => {
    assert.equal(router.add('DELETE', '/orders/{name}', 'again'), 'delete')
  })

  test('tells which methods a path offers', () => {
    const own = table({ 'GET /me': 'me', 'POST /me': 'post', 'GET /{any}': 'any' })
    assert.deepEqual(own.methods('/me'), ['GET', 'HEAD', 'POST'])
    assert.deepEqual(own.methods('/nowhere/else'), [])
  })

  test('finds each of a thousand services', () => {
    const many = new Router<number>()
    for (let index = 0; index < 1000; index += 1) many.add('*', `/service-${index}/*`, index)
    for (const index of [0, 499, 999]) assert.equal(many.match('GET', `/service-${index}/x`)?.value, index)
    assert.equal(many.match('GET', '/service-1000/x'), undefined)
  })
})

describe('a segment with parameters in it', () => {
  const router = table({
    'GET /files/{name}.json': 'file',
    'POST /orders/{id}:cancel': 'cancel',
    'POST /orders/{id}:ship': 'ship',
    'POST /orders/{id}': 'order',
    "GET /Users('{id}')/roles": 'roles',
    'GET /range/{from}-{to}': 'range',
    'GET /ab/{a}b{b}b': 'abb',
  })
  const cases: [string, string, string | undefined][] = [
    ['GET', '/files/a.json', 'file'],
    ['GET', '/files/a.b.json', 'file'],
    ['GET', '/files/.json', undefined],
    ['GET', '/files/a.xml', undefined],
    ['POST', '/orders/7:cancel', 'cancel'],
    ['POST', '/orders/7%3Acancel', 'cancel'],
    ['POST', '/orders/7:CANCEL', 'cancel'],
    ['POST', '/orders/7:ship', 'ship'],
    ['POST', '/orders/7:delete', 'order'],
    ['GET', "/Users('7')/roles", 'roles'],
    ['GET', "/Users('7')", undefined],
    ['GET', '/range/1-2', 'range'],
    ['GET', '/range/12', undefined],
    ['GET', '/range/1-', undefined],
    ['GET', '/ab/xbxb', 'abb'],
    ['GET', '/ab/bbbb', 'abb'],
    ['GET', '/ab/bbb', undefined],
  ]
  for (const [method, path, expected] of cases) {
    test(`${method} ${path} is answered by ${expected ?? 'nobody'}`, () => {
      assert.equal(router.match(method, path)?.value, expected)
      const offered = router.candidates(path).map(({ value }) => value)
      if (expected) {
        assert(offered.includes(expected))
        assert(router.methods(path).includes(method))
      } else assert.deepEqual(offered, [])
    })
  }

  test('costs no more time than it has characters', () => {
    const router = table({ [`GET /${'{a}a'.repeat(40)}c`]: 'many' })
    const began = performance.now()
    assert.equal(router.match('GET', `/${'a'.repeat(4_000)}`), undefined)
    assert(performance.now() - began < 50)
  })
})
