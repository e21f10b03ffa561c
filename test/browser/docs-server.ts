import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createDocsPage, type DocsFiles, type DocsOptions } from '../../src/docs/docs-page.ts'

export interface TestServer {
  readonly origin: string
  [Symbol.asyncDispose](): Promise<void>
}

/** A server on a free loopback port; `host` is the name that its origin is spoken of with. */
export async function serve(
  listener: (request: IncomingMessage, response: ServerResponse) => void,
  host = '127.0.0.1',
): Promise<TestServer> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    origin: `http://${host}:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export interface DocsServerSettings {
  readonly options?: Partial<DocsOptions>
  /** Documents by path. */
  readonly documents: Readonly<Record<string, object>>
  /** Header fields that replace the page's own, by path. */
  readonly fields?: (path: string) => Readonly<Record<string, string>>
  /** Everything else. */
  readonly api?: (request: IncomingMessage, response: ServerResponse) => void
}

/** The documentation page with documents and an API of the test's own. */
export async function serveDocs(files: DocsFiles, settings: DocsServerSettings): Promise<TestServer> {
  const server = await serve((request, response) => {
    const path = new URL(request.url!, 'http://gateway').pathname
    const asset = page.find(path)
    const document = settings.documents[path]
    if (asset) {
      response.writeHead(asset.status, {
        'Content-Type': asset.type,
        ETag: asset.etag,
        'Cache-Control': asset.cacheControl,
        ...asset.fields,
        ...settings.fields?.(path),
      })
      response.end(asset.body)
    } else if (document) {
      response.writeHead(200, { 'Content-Type': 'application/json', 'X-Content-Type-Options': 'nosniff' })
      response.end(JSON.stringify(document))
    } else if (settings.api) {
      settings.api(request, response)
    } else {
      response.writeHead(404).end()
    }
  })
  const page = createDocsPage(
    {
      title: 'Example APIs',
      documents: Object.keys(settings.documents).map((path) => ({ name: path, url: path })),
      oauth: { clientId: 'swagger-ui', scopes: [] },
      redirectUrl: `${server.origin}/docs/oauth2-redirect.html`,
      connectSrc: [],
      view: 'all',
      ...settings.options,
    },
    files,
  )
  return server
}
