import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Fault } from '../config/load.ts'
import type { Definition } from '../config/schema.ts'
import { sessionClientOf } from '../gateway/sessions.ts'
import { createIssuer } from '../issuer/issuer.ts'
import { IssuerRefused } from '../issuer/settings.ts'
import { InvalidUsers } from '../issuer/users.ts'
import { readDocument } from '../openapi/read.ts'
import { locate } from '../openapi/source.ts'
import { createMemoryStore } from '../store/memory.ts'
import { silent } from '../telemetry/log.ts'
import { isLoopback, publicUrlOf } from './assemble.ts'

/**
 * What services.json names and what can be known without serving: whether the embedded issuer would start, with its
 * users and clients, and whether the local documents can be read. Nothing is kept and nobody is asked.
 */
export async function checkFiles(definition: Definition, folder: string): Promise<readonly Fault[]> {
  const found = await Promise.all([checkIssuer(definition, folder), checkDocuments(definition, folder)])
  return found.flat()
}

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

async function checkDocuments({ services }: Definition, folder: string): Promise<readonly Fault[]> {
  const faults: Fault[] = []
  for (const [index, { openapi, targets }] of services.entries()) {
    if (openapi === false) continue
    const location = locate(
      typeof openapi === 'string' ? openapi : openapi.from,
      targets.map(({ url }) => url),
      folder,
    )
    if (location.type !== 'file') continue
    const complaint = await complaintAbout(location.file)
    if (complaint !== undefined) faults.push({ path: ['services', index, 'openapi'], message: complaint })
  }
  return faults
}

async function complaintAbout(file: string): Promise<string | undefined> {
  let bytes: Buffer
  try {
    bytes = await readFile(file)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return code === 'ENOENT' ? `there is no file ${file}` : `${file} cannot be read: ${message}`
  }
  const read = await readDocument(bytes, { path: file, root: dirname(file) })
  return read.outcome === 'read' ? undefined : `${file}: ${read.mistake.message}`
}
