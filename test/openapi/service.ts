import assert from 'node:assert/strict'
import { check } from '../../src/openapi/check.ts'
import type { EnforcedSecurity, Finding, JsonObject, ServiceSource } from '../../src/openapi/document.ts'
import { type PublishSettings, preparePart, publish } from '../../src/openapi/publish.ts'

/** The gateway of these tests. */
export const settings: PublishSettings = {
  info: { title: 'Shop', version: '1.0.0' },
  publicUrl: 'http://gateway.test',
  securitySchemes: {
    bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
    apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
    keyInQuery: { type: 'apiKey', in: 'query', name: 'api_key' },
    session: { type: 'apiKey', in: 'cookie', name: '__Host-shop' },
  },
}

export const byBearer: EnforcedSecurity = {
  security: [{ bearer: [] }],
  consumed: [{ in: 'header', name: 'authorization' }],
  limited: false,
}

// biome-ignore lint/suspicious/noExplicitAny: documents of tests are looked into at will
export type Loose = any

/** A service whose document is frozen, so that a test fails if anything is changed in it. */
export function service(document: object | undefined, rest: Partial<ServiceSource> = {}): ServiceSource {
  const name = rest.name ?? 'svc'
  return {
    name,
    prefix: `/${name}`,
    stripPath: true,
    document: deepFreeze(document) as JsonObject | undefined,
    origin: `http://${name}.test/openapi.json`,
    targetBasePath: '',
    routes: [],
    enforced: () => byBearer,
    ...rest,
  }
}

/** A small document of one version. */
export function api(paths: object, rest: object = {}): JsonObject {
  return { openapi: '3.1.0', info: { title: 'Things', version: '2.0.0' }, paths, ...rest }
}

export const ok = { 200: { description: 'ok' } }

export interface Published {
  readonly document: Loose
  readonly byService: ReadonlyMap<string, Loose>
  readonly findings: readonly Finding[]
  readonly codes: readonly string[]
}

/** Publish services and see that the result holds together. */
export function publishAll(...sources: readonly ServiceSource[]): Published {
  const { document, byService, findings } = publish(sources.map(preparePart), settings)
  assert.deepEqual(check(document), [])
  for (const one of byService.values()) assert.deepEqual(check(one), [])
  return { document, byService, findings, codes: findings.map(({ code }) => code) }
}

export function publishOne(document: object | undefined, rest: Partial<ServiceSource> = {}): Published {
  return publishAll(service(document, rest))
}

/** The one operation of a document with one path and one schema of interest: publish it and return the schema of its answer. */
export function throughSchema(
  schema: unknown,
  schemas: object = {},
  openapi = '3.1.0',
): { schema: Loose; published: Published } {
  const content = { 'application/json': { schema } }
  const document = {
    openapi,
    info: { title: 'Things', version: '1' },
    paths: { '/x': { get: { responses: { 200: { description: 'ok', content } } } } },
    components: { schemas },
  }
  const published = publishOne(document)
  const { responses } = published.document.paths['/svc/x'].get
  return { schema: responses['200'].content['application/json'].schema, published }
}

export function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const member of Object.values(value)) deepFreeze(member)
  }
  return value
}

/** What a local reference leads to. */
export function at(document: Loose, reference: string): Loose {
  assert.match(reference, /^#\//)
  let value = document
  for (const token of reference.slice(2).split('/')) {
    const name = decodeURIComponent(token).replaceAll('~1', '/').replaceAll('~0', '~')
    assert.ok(Object.hasOwn(value, name), `${reference} leads nowhere`)
    value = value[name]
  }
  return value
}

/** Every string and key of a value, for looking for what must not be there. */
export function textOf(value: unknown): string {
  return JSON.stringify(value)
}
