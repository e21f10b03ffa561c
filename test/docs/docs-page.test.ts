import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { before, describe, test } from 'node:test'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import {
  createDocsPage,
  type DocsFiles,
  type DocsOptions,
  type DocsPage,
  readDocsFiles,
} from '../../src/docs/docs-page.ts'

const options: DocsOptions = {
  title: 'Example APIs',
  documents: [
    { name: 'All services', url: '/openapi.json' },
    { name: 'orders', url: '/openapi/orders.json' },
  ],
  oauth: { clientId: 'swagger-ui', scopes: ['orders'] },
  redirectUrl: 'http://localhost:8080/docs/oauth2-redirect.html',
  connectSrc: ['https://login.example/tenant/token'],
  view: 'caller',
} as const

describe('the documentation page', () => {
  let files: DocsFiles
  let page: DocsPage
  before(async () => {
    files = await readDocsFiles()
    page = createDocsPage(options, files)
  })

  /** Every path that a file of the page refers to, resolved as a browser does. */
  function referencesOf(path: string): string[] {
    const text = page.find(path)!.body.toString()
    return [...text.matchAll(/(?:src|href)="([^"]+)"/g)].map(
      ([, url]) => new URL(url!, `http://gateway${path}`).pathname,
    )
  }

  test('finds everything that its two pages refer to', () => {
    for (const path of ['/docs', '/docs/oauth2-redirect.html']) {
      const references = referencesOf(path).filter((reference) => reference !== '/openapi.json')
      assert.ok(references.length >= 3, path)
      for (const reference of references) assert.equal(page.find(reference)?.status, 200, `${path} → ${reference}`)
    }
  })

  test('has no inline script, no inline style and no address outside', () => {
    for (const path of ['/docs', '/docs/oauth2-redirect.html']) {
      const html = page.find(path)!.body.toString()
      assert.doesNotMatch(html, /<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|https?:/)
    }
    for (const path of ['/docs/initializer.js', '/docs/oauth2-redirect.js', '/docs/sallyport.css']) {
      assert.doesNotMatch(page.find(path)!.body.toString(), /https?:\/\//)
    }
  })

  test('allows nothing but itself and the origins of the issuers', () => {
    assert.equal(
      page.find('/docs')?.fields['Content-Security-Policy'],
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
        "connect-src 'self' https://login.example; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    )
    assert.equal(
      page.find('/docs/oauth2-redirect.html')?.fields['Content-Security-Policy'],
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    )
  })

  test('refuses an origin that would end the directive', () => {
    for (const connectSrc of ["'unsafe-inline'", '*', 'data:text/plain,x', '']) {
      assert.throws(() => createDocsPage({ ...options, connectSrc: [connectSrc] }, files), TypeError, connectSrc)
    }
    const page = createDocsPage({ ...options, connectSrc: ["https://a.example/; script-src 'unsafe-inline'"] }, files)
    assert.match(
      page.find('/docs')!.fields['Content-Security-Policy']!,
      /connect-src 'self' https:\/\/a\.example; base-uri/,
    )
  })

  test('sends every file with nosniff and without a referrer', () => {
    for (const path of [...files.keys(), '/docs/config.json', '/docs/']) {
      const { fields } = page.find(path)!
      assert.equal(fields['X-Content-Type-Options'], 'nosniff', path)
      assert.equal(fields['Referrer-Policy'], 'no-referrer', path)
    }
  })

  test('writes its settings as JSON for the page to fetch', () => {
    const asset = page.find('/docs/config.json')!
    const { connectSrc, ...settings } = options
    assert.equal(asset.type, 'application/json')
    assert.deepEqual(JSON.parse(asset.body.toString()), settings)
  })

  test('gives another entity tag when the settings change, and the same when they do not', () => {
    const tag = (title: string) => createDocsPage({ ...options, title }, files).find('/docs/config.json')!.etag
    assert.equal(tag('a'), tag('a'))
    assert.notEqual(tag('a'), tag('b'))
    const tags = [...files.values()].map((file) => file.etag)
    assert.equal(new Set(tags).size, tags.length)
    for (const etag of tags) assert.match(etag, /^W\/"[\w-]{27}"$/)
  })

  test('offers the same bytes in every content coding, and the small ones smaller', async () => {
    for (const [path, file] of files) {
      const { gzip, brotli } = await file.packed!()
      if (gzip) assert.deepEqual(gunzipSync(gzip), file.body, path)
      if (brotli) assert.deepEqual(brotliDecompressSync(brotli), file.body, path)
    }
    const bundle = page.find('/docs/swagger-ui-bundle.js')!
    const { brotli } = await bundle.packed!()
    assert.ok(brotli!.length < bundle.body.length / 4)
    assert.equal((await bundle.packed!()).brotli, brotli, 'made once')
  })

  test('sends /docs/ to /docs, whatever a proxy puts in front', () => {
    const { status, fields } = page.find('/docs/')!
    assert.equal(status, 308)
    assert.equal(new URL(fields['Location']!, 'https://api.example/gateway/docs/').pathname, '/gateway/docs')
  })

  test("serves neither Swagger UI's own pages nor its source maps", () => {
    for (const name of [
      'index.html',
      'swagger-initializer.js',
      'swagger-ui-bundle.js.map',
      '../package.json',
      'page',
    ]) {
      assert.equal(page.find(`/docs/${name}`), undefined, name)
    }
  })

  test("serves the license that Swagger UI's own terms ask for", () => {
    assert.match(page.find('/docs/LICENSE.txt')!.body.toString(), /Apache License/)
    const bundle = readFileSync('node_modules/swagger-ui-dist/swagger-ui-bundle.js', 'latin1')
    const notice = /For license information please see (\S+)/.exec(bundle.slice(0, 200))![1]!
    assert.equal(page.find(`/docs/${notice}`)?.status, 200)
  })
})
