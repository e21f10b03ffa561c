import { randomBytes } from 'node:crypto'
import { dirname, resolve } from 'node:path'
import type { Worker } from 'node:worker_threads'
import { openIssuedTokens } from '../authentication/issued-tokens.ts'
import { createKeyStore } from '../authentication/key-store.ts'
import { openRevocations } from '../authentication/revocation.ts'
import { stores } from '../catalogue.ts'
import type { Definition } from '../config/schema.ts'
import { readDocsFiles } from '../docs/docs-page.ts'
import type { Gateway } from '../gateway/gateway.ts'
import { Live } from '../gateway/live.ts'
import { type GatewayTools, openGateway } from '../gateway/open.ts'
import { Shared } from '../gateway/shared.ts'
import { build } from '../kind.ts'
import { createPress } from '../openapi/press.ts'
import { createMinter } from '../propagation/minter.ts'
import type { Store } from '../store/store.ts'
import { createMetrics, type Metrics } from '../telemetry/metrics.ts'
import type { Limiters } from '../throttling/limiter.ts'
import { createLocalLimiters } from '../throttling/local-limiters.ts'
import type { Tools } from '../tools.ts'
import type { TunnelEnd } from '../upstream/tunnel.ts'
import { createUpstreams } from '../upstream/upstream.ts'

export interface AssembleOptions extends Tools {
  /** Path of services.json. */
  readonly config: string
  /** The port that the gateway has, or would have; part of the public URL when services.json names none. */
  readonly port: number
  /** Keep nothing, and work in this thread alone: for commands that only look. */
  readonly ephemeral?: boolean
  /** Whether documents are read in a thread of their own, or in which. Default: unless `ephemeral`. */
  readonly thread?: boolean | Worker
  /** Milliseconds that the first document waits for services that do not answer. */
  readonly patience?: number
  /** What takes the place of parts that reach out: for commands that try the gateway and disturb nobody. */
  readonly instead?: Partial<Pick<GatewayTools, 'upstreams' | 'limiters' | 'fetchJson'>>
}

/** A gateway with everything it needs, but without a port: what `start` serves, and what commands look at. */
export interface Assembly extends GatewayTools {
  readonly live: Live<Gateway>
  /** Compile another definition beside the one that serves, and put it in its place when that has worked. */
  swap(next: Definition): Promise<void>
  close(): Promise<void>
}

/** Whatever was opened is closed again when a later step fails. */
export async function assemble(definition: Definition, options: AssembleOptions): Promise<Assembly> {
  const { config, port, log, now, ephemeral = false, thread = !ephemeral, instead = {} } = options
  const opened: (() => unknown)[] = []
  const close = async () => {
    for (const step of opened.splice(0).reverse()) await step()
  }
  try {
    const tools = { now, log }
    // Both take their time elsewhere, while the rest is made.
    const press = createPress({ thread }, tools)
    opened.push(() => press.close())
    const docsFiles = readDocsFiles()
    docsFiles.catch(() => {})
    const store: Store = await build(stores, ephemeral ? { type: 'memory' } : definition.store, tools)
    opened.push(() => store.close())
    const revocations = await openRevocations(store, { lifetime: longestLife(definition) }, tools)
    opened.push(() => revocations.close())
    const issuedTokens = openIssuedTokens(store)
    opened.push(() => issuedTokens.close())
    const keys = createKeyStore({}, { ...tools, store, random: randomBytes })
    opened.push(() => keys.close())
    const upstreams = createUpstreams({ log, clock: () => performance.now(), chance: Math.random })
    opened.push(() => upstreams.close())

    const metrics = createMetrics()
    const limiters = await openLimiters(ephemeral ? { type: 'memory' } : definition.store, { ...tools, store, metrics })
    opened.push(() => limiters.close())
    const publicUrl = publicUrlOf(definition, port)
    const gatewayTools: GatewayTools = {
      ...tools,
      store,
      metrics,
      keys,
      limiters,
      upstreams,
      press,
      revocations,
      issuedTokens,
      publicUrl,
      address: `http://${hostInUrl(definition.gateway.listen.host)}:${port}`,
      loopback: isLoopback(definition.gateway.listen.host),
      shared: new Shared(),
      minter: await createMinter(publicUrl, store, now),
      docsFiles: await docsFiles,
      folder: dirname(resolve(config)),
      ...(options.patience !== undefined && { patience: options.patience }),
      ...instead,
    }
    const live = new Live(await openGateway(definition, gatewayTools))
    opened.push(() => live.current.close())
    metrics.configured(now())
    metrics.watchServices(() =>
      live.current.services.map(({ name, upstream, limits: { concurrent } }) => ({
        name,
        targets: upstream.describe(),
        concurrent,
        mirror: upstream.mirror?.describe(),
      })),
    )
    return {
      ...gatewayTools,
      live,
      async swap(next) {
        live.swap(await openGateway(next, gatewayTools))
        metrics.configured(now())
        // Running requests end by themselves; a WebSocket would stay for days.
        const { shutdown } = next.gateway
        setTimeout(() => upstreams.tunnels.closeStale((end) => fateOf(end, live.current.definition)), shutdown).unref()
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** What became of the service and the target that a tunnel leads to. */
function fateOf(
  { service: name, target }: TunnelEnd,
  { services }: Definition,
): 'stays' | 'service-gone' | 'target-gone' {
  const service = services.find((candidate) => candidate.name === name)
  if (!service) return 'service-gone'
  const { targets, canary } = service
  return [...targets, ...(canary?.targets ?? [])].some(({ url }) => url === target) ? 'stays' : 'target-gone'
}

/** Requests are counted where everything else is shared, so that several gateways count together. */
async function openLimiters(
  settings: Definition['store'],
  { metrics, store, log, now }: Tools & { readonly metrics: Metrics; readonly store: Store },
): Promise<Limiters> {
  if (settings.type !== 'redis')
    return createLocalLimiters({ store, log, now, onAlone: () => metrics.alarm('quotas-counted-alone', 'store') })
  const { url, prefix, localShare } = settings
  const { connectRedisLimiters } = await import('../throttling/redis-limiters.ts')
  const onInsurance = () => metrics.alarm('rates-counted-alone', 'redis')
  return connectRedisLimiters(url, { prefix, localShare, log, now, onInsurance })
}

const month = 30 * 86_400_000

/** How long a revocation is remembered that does not say itself when its token ends: as long as anything could live. */
export function longestLife({ issuers }: Definition): number {
  const lives = Object.values(issuers).map((issuer) => (issuer.type === 'embedded' ? issuer.refreshToken : 0))
  return Math.max(month, ...lives)
}

/** A host to listen on as it stands in a URL that leads there. */
export function hostInUrl(host: string): string {
  if (host === '0.0.0.0' || host === '::') return '127.0.0.1'
  return host.includes(':') ? `[${host}]` : host
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.')
}

export function publicUrlOf({ gateway }: Definition, port: number): string {
  if (gateway.publicUrl !== undefined) return gateway.publicUrl
  // A cookie or a redirect for 127.0.0.1 is not one for localhost; people type the latter.
  return `http://localhost:${port}`
}
