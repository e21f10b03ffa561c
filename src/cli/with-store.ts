import { stores } from '../catalogue.ts'
import { loadDefinition } from '../config/load.ts'
import type { Definition } from '../config/schema.ts'
import { build } from '../kind.ts'
import { type Store, StoreUnavailable } from '../store/store.ts'
import { silent } from '../telemetry/log.ts'
import type { Tools } from '../tools.ts'
import type { CommonOptions, ExitCode, Terminal } from './command.ts'

/**
 * Work on the store of services.json, for commands that change what a running gateway remembers. `instead` is the
 * endpoint of the admin port for a gateway that keeps it all in its own memory.
 */
export async function withStore(
  { config }: CommonOptions,
  { environment, err }: Terminal,
  instead: string,
  work: (store: Store, definition: Definition, tools: Tools) => Promise<ExitCode>,
): Promise<ExitCode> {
  const definition = await loadDefinition(config, environment)
  if (definition.store.type === 'memory') {
    err(
      'sallyport: the store of this services.json is the memory of the gateway, which no other process can change; ' +
        `use ${instead} on the admin port, or "store": { "type": "sqlite" }`,
    )
    return 1
  }
  const tools = { now: Date.now, log: silent }
  let store: Store | undefined
  try {
    store = await build(stores, definition.store, tools)
    return await work(store, definition, tools)
  } catch (error) {
    if (!(error instanceof StoreUnavailable)) throw error
    err(`sallyport: the store cannot be used: ${error.message}`)
    return 1
  } finally {
    await store?.close()
  }
}
