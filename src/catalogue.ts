import { introspectionIssuer, oidcIssuer, secretIssuer } from './authentication/issuers.ts'
import { embedded } from './issuer/embedded.ts'
import { clientCredentials } from './propagation/client-credentials.ts'
import { exchange } from './propagation/exchange.ts'
import { gatewayJwt } from './propagation/gateway-jwt.ts'
import { none } from './propagation/none.ts'
import { passthrough } from './propagation/passthrough.ts'
import { fixed } from './propagation/static.ts'
import { memory } from './store/memory.ts'
import { redis } from './store/redis-settings.ts'
import { sqliteStore } from './store/sqlite.ts'

/**
 * Everything services.json can name, one line per kind. A new one is a file in its room and a line here:
 * its validation, its types, its JSON Schema and its hover text follow.
 *
 * Ways to choose a target are listed beside them, in `upstream/settings.ts`.
 */

/** `issuers.*.type`: whose tokens are believed. */
export const issuers = [embedded, oidcIssuer, secretIssuer, introspectionIssuer] as const

/** `forward.credentials`: what a service gets to see of the caller's credential. */
export const propagators = [passthrough, none, gatewayJwt, exchange, clientCredentials, fixed] as const

/** `store.type`: where the gateway keeps what it must remember. */
export const stores = [sqliteStore, memory, redis] as const
