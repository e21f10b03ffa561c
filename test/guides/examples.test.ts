import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, test } from 'node:test'
import { readDefinition } from '../../src/config/load.ts'
import { usersFile } from '../../src/issuer/users.ts'

const minimal = { name: 'orders', path: '/orders', targets: ['http://127.0.0.1:4001'] }
const issuers = {
  local: { type: 'embedded' },
  entra: { type: 'oidc', issuer: 'https://login.example/v2.0', audience: 'api' },
}
/** Keys of services.json; what has none of them is a service or a part of one. */
const whole = /^(?:services|store|gateway|issuers|securitySchemes|security|plans|roles|compositions)$/
/** What a guide shows besides: answers, requests and personas. */
const other = /^(?:type|\$problems|orderedBy|guest|user|session)$/

/** The variables that examples name. */
const environment = Object.fromEntries(
  ['REPORT_SECRET', 'GATEWAY_CLIENT_SECRET', 'WEATHER_KEY', 'SESSION_CLIENT_SECRET'].map((name) => [
    name,
    'of-the-test',
  ]),
)

/** A block of a guide is all of services.json, one service of it, or keys of either; some are written without braces. */
function parsed(block: string): Record<string, unknown> {
  try {
    return JSON.parse(block)
  } catch {
    return JSON.parse(`{${block}}`)
  }
}

function completed(block: Record<string, unknown>): object {
  const names = new Set(JSON.stringify(block['compositions'] ?? []).match(/(?<="service":")[^"]+/g))
  const services = [...new Set([minimal.name, ...names])].map((name) => ({ ...minimal, name, path: `/${name}` }))
  const isWhole = Object.keys(block).some((key) => whole.test(key)) && !('targets' in block)
  const part = isWhole ? block : { services: [{ ...minimal, ...block }] }
  return { issuers, security: [], services, ...part }
}

const folder = join(import.meta.dirname, '..', '..', 'docs', 'guides')
for (const path of globSync('*.md', { cwd: folder })) {
  const blocks = [...readFileSync(join(folder, path), 'utf8').matchAll(/^```json\n([\s\S]*?)^```$/gm)].map(
    ([, block]) => parsed(block!),
  )
  const examples = blocks.filter((block) => !Object.keys(block).some((key) => other.test(key)))
  if (examples.length === 0) continue
  describe(`the examples of docs/guides/${basename(path)}`, () => {
    for (const [index, block] of examples.entries()) {
      test(`number ${index + 1} is accepted as it stands there`, () => {
        if (Array.isArray(block)) assert.ok(usersFile.parse(block).length > 0)
        else readDefinition(JSON.stringify(completed(block)), environment)
      })
    }
  })
}
