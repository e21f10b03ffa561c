import { open, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Fault } from '../config/load.ts'
import type { Definition } from '../config/schema.ts'
import { prefixOf } from '../gateway/compile.ts'
import { orderOf } from '../gateway/documents.ts'
import { sessionClientOf } from '../gateway/sessions.ts'
import { createIssuer } from '../issuer/issuer.ts'
import { IssuerRefused } from '../issuer/settings.ts'
import { InvalidUsers } from '../issuer/users.ts'
import type { Finding } from '../openapi/document.ts'
import { createPressWork, type PressWork, type ReadOrder } from '../openapi/press-work.ts'
import { locate } from '../openapi/source.ts'
import { createMemoryStore } from '../store/memory.ts'
import { silent } from '../telemetry/log.ts'
import { isLoopback, publicUrlOf } from './assemble.ts'

/**
 * What services.json names and what can be known without serving: whether the embedded issuer would start, with its
 * users and clients, whether the local documents can be read, and whether the store's file is one. Nothing is kept and
 * nobody is asked.
 */
export async function checkFiles(
  definition: Definition,
  folder: string,
): Promise<{ readonly faults: readonly Fault[]; readonly findings: readonly Finding[] }> {
  const [store, issuer, documents] = await Promise.all([
    checkStore(definition),
    checkIssuer(definition, folder),
    checkDocuments(definition, folder),
  ])
  return { faults: [...store, ...issuer, ...documents.faults], findings: documents.findings }
}

/** Looked at, not opened: SQLite would write to it. A file that is not there yet will be made. */
async function checkStore({ store }: Definition): Promise<readonly Fault[]> {
  if (store.type !== 'sqlite') return []
  const told = (message: string): readonly Fault[] => [{ path: ['store', 'path'], message: `${store.path} ${message}` }]
  try {
    const file = await open(store.path)
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(databaseMark.length), 0, databaseMark.length, 0)
      if (bytesRead === 0 || buffer.toString('latin1') === databaseMark) return []
      return told('is not a SQLite database; name another path, or move it away')
    } finally {
      await file.close()
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') return []
    return told(code === 'EISDIR' ? 'is a folder; name a file in it' : `cannot be read: ${message}`)
  }
}

/** How every database file begins. */
const databaseMark = 'SQLite format 3\0'

async function checkIssuer(definition: Definition, folder: string): Promise<readonly Fault[]> {
  const [name, settings] = Object.entries(definition.issuers).find(([, { type }]) => type === 'embedded') ?? []
  if (name === undefined || settings?.type !== 'embedded') return []
  const { gateway, store: kept } = definition
  const tools = { now: Date.now, log: silent }
  const store = createMemoryStore(tools)
  const publicUrl = publicUrlOf(definition, gateway.listen.port)
  try {
    const client = await sessionClientOf(definition, name, { store, publicUrl })
    const issuer = await createIssuer(settings, {
      ...tools,
      publicUrl,
      // What it would be started with forgets or does not.
      store: { ...store, durable: kept.type !== 'memory' },
      denylist: { revoke: async () => {}, isRevoked: () => false },
      issuedTokens: { record: async () => {}, isOnRecord: () => true },
      loopback: isLoopback(gateway.listen.host),
      directory: folder,
      clients: client ? [client] : [],
    })
    await issuer.close()
    return []
  } catch (error) {
    if (error instanceof InvalidUsers)
      return error.mistakes.map((mistake) => ({
        path: ['issuers', name, 'users'],
        message: `${error.path}: ${mistake}`,
      }))
    if (error instanceof IssuerRefused) return [{ path: ['issuers', name], message: error.message }]
    throw error
  } finally {
    await store.close()
  }
}

async function checkDocuments({ services }: Definition, folder: string) {
  const faults: Fault[] = []
  const findings: Finding[] = []
  const work = createPressWork()
  for (const [index, definition] of services.entries()) {
    const { name, path, stripPath, openapi, targets } = definition
    if (openapi === false) continue
    const location = locate(
      typeof openapi === 'string' ? openapi : openapi.from,
      targets.map(({ url }) => url),
      folder,
    )
    if (location.type !== 'file') continue
    const service = orderOf({ name, prefix: prefixOf({ path }), stripPath, definition })
    const answer = await readFrom(location.file, service, work)
    if (typeof answer === 'string') faults.push({ path: ['services', index, 'openapi'], message: answer })
    else findings.push(...answer)
  }
  return { faults, findings }
}

/** What is found in a document, or why it is none. */
async function readFrom(
  file: string,
  service: ReadOrder['service'],
  work: PressWork,
): Promise<readonly Finding[] | string> {
  let bytes: Buffer
  try {
    bytes = await readFile(file)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return code === 'ENOENT' ? `there is no file ${file}` : `${file} cannot be read: ${message}`
  }
  const read = await work.read(0, { service, bytes, local: { path: file, root: dirname(file) } })
  return read.outcome === 'read' ? read.findings : `${file}: ${read.mistake.message}`
}
