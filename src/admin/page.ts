import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type Router from '@koa/router'

/** The files of the admin page by request path. */
export type AdminPage = ReadonlyMap<string, { readonly type: string; readonly body: Buffer }>

const files = {
  '/': 'index.html',
  '/page/admin.css': 'admin.css',
  '/page/admin.js': 'admin.js',
  '/page/dom.js': 'dom.js',
  '/page/health.js': 'health.js',
  '/page/inspector.js': 'inspector.js',
  '/page/refusals.js': 'refusals.js',
  '/page/simulator.js': 'simulator.js',
  '/page/trace.js': 'trace.js',
  '/page/sallyport.svg': '../../docs/page/sallyport.svg',
} as const

const types: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
}

export async function readAdminPage(): Promise<AdminPage> {
  const folder = join(import.meta.dirname, 'page')
  return new Map(
    await Promise.all(
      Object.entries(files).map(async ([path, file]) => {
        const type = types[file.slice(file.lastIndexOf('.') + 1)]!
        return [path, { type, body: await readFile(join(folder, file)) }] as const
      }),
    ),
  )
}

/** The page may run its own scripts and ask its own origin, and nothing else. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

export function pageEndpoints(router: Router, page: AdminPage): void {
  for (const [path, { type, body }] of page) {
    router.get(path, (ctx) => {
      ctx.set('Content-Security-Policy', policy)
      ctx.set('Content-Type', type)
      ctx.body = body
    })
  }
}
