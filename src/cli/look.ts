import { randomBytes } from 'node:crypto'
import type { Definition } from '../config/schema.ts'
import { createExplain, type Inquiry, inquiry } from '../gateway/explain.ts'
import type { Explanation } from '../gateway/explanation.ts'
import type { Gateway } from '../gateway/gateway.ts'
import { createTracing } from '../http/trace-context.ts'
import { createVia } from '../http/via.ts'
import { silent } from '../telemetry/log.ts'
import { assemble } from './assemble.ts'

/** A gateway that is only looked at. */
export interface Looked {
  readonly gateway: Gateway
  /** What the gateway, or one that differs from it in what it knows, would do with a request. */
  explain(asked: Inquiry, gateway?: Gateway): Promise<Explanation>
}

export interface LookOptions {
  /** Path of services.json. */
  readonly config: string
  /** Keep nothing and use nothing that was kept. */
  readonly ephemeral: boolean
}

/** Compiles a definition for a command that asks what would be done: nothing listens, and no instance is asked how it is. */
export async function look<Result>(
  definition: Definition,
  { config, ephemeral }: LookOptions,
  work: (looked: Looked) => Promise<Result>,
): Promise<Result> {
  const quiet = { ...definition, services: definition.services.map(({ health: _, ...service }) => service) }
  const { port } = definition.gateway.listen
  const assembly = await assemble(quiet, { config, port, log: silent, now: Date.now, ephemeral })
  try {
    const gateway = assembly.live.current
    const ask = createExplain({
      counting: false,
      now: Date.now,
      id: () => 'explained',
      trace: createTracing(randomBytes),
      via: createVia('explained'),
    })
    return await work({ gateway, explain: (asked, other = gateway) => ask(other, inquiry.parse(asked)) })
  } finally {
    await assembly.close()
  }
}
