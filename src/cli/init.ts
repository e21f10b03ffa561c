import { writeFile } from 'node:fs/promises'
import { isIP } from 'node:net'
import { readDefinition } from '../config/load.ts'
import { type Command, parseOptions, UsageError } from './command.ts'

/** A services.json to begin with: one service for each OpenAPI document that is named, guarded by tokens and keys. */
export const init: Command = {
  usage: 'init [URL …]',
  summary: 'write a services.json for services by the URLs of their OpenAPI documents',
  details: [
    'init http://orders:4001/openapi.json http://users:4002/openapi.json',
    'Nothing is fetched. An existing file is left as it is; --config says where else to write.',
  ],
  async run(words, { config, json }, { out, err }) {
    const urls = parseOptions(words, {}).positionals
    const text = `${JSON.stringify(draft(urls), null, 2)}\n`
    // What we would not read we do not write.
    readDefinition(text, {}, config)
    try {
      await writeFile(config, text, { flag: 'wx' })
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      err(`sallyport: ${code === 'EEXIST' ? `${config} is there already; --config names another file` : message}`)
      return 1
    }
    out(
      json
        ? JSON.stringify({ file: config })
        : [
            `wrote ${config}: every service asks for a token or an API key`,
            '  sallyport check                      reads it',
            '  sallyport keys create --owner you    prints a key to try it with, for the field X-API-Key',
            '  sallyport start                      runs it',
            '  sallyport docs build                 writes the schema by which editors complete and explain it',
          ].join('\n'),
    )
    return 0
  },
}

const example = 'http://127.0.0.1:4001/openapi.json'

function draft(urls: readonly string[]): object {
  const names = new Set<string>()
  return {
    $schema: './openapi/services.schema.json',
    gateway: { listen: { host: '127.0.0.1', port: 8080 }, admin: { host: '127.0.0.1', port: 8081 } },
    store: { type: 'sqlite', path: 'data/sallyport.db' },
    issuers: { local: { type: 'embedded' } },
    securitySchemes: {
      bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
      apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
    },
    security: [{ bearer: [] }, { apiKey: [] }],
    services: (urls.length > 0 ? urls : [example]).map((text) => {
      const url = parse(text)
      const name = unused(nameOf(url), names)
      return { name, path: `/${name}`, targets: [url.origin], openapi: `${url.pathname}${url.search}` }
    }),
  }
}

function parse(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '')
    throw new UsageError(`"${text}" is not the URL of a document, such as ${example}`)
  return url
}

/** What a service is called by its address: `orders` in http://orders:4001/… and https://api.example/orders/openapi.json. */
function nameOf({ hostname, pathname, port }: URL): string {
  const folder = pathname
    .split('/')
    .slice(1, -1)
    .findLast((segment) => !/^v?\d+(?:\.\d+)*$|^api$/i.test(segment))
  const local = isIP(hostname.replace(/^\[|\]$/g, '')) !== 0 || hostname === 'localhost'
  const text = folder ?? (local ? `service-${port || '80'}` : hostname.split('.')[0]!)
  const name = text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^[^a-z]+|-+$/g, '')
    .slice(0, 60)
  return name || 'service'
}

function unused(name: string, names: Set<string>): string {
  let candidate = name
  for (let count = 2; names.has(candidate); count += 1) candidate = `${name}-${count}`
  names.add(candidate)
  return candidate
}
