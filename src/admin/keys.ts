import type Router from '@koa/router'
import { z } from 'zod'
import type { IssuedTokens } from '../authentication/issued-tokens.ts'
import { keyRequest, overlap } from '../authentication/key-request.ts'
import type { KeyStore } from '../authentication/key-store.ts'
import type { Revocations } from '../authentication/revocation.ts'
import { revocationRequest, revoke } from '../authentication/revoke.ts'
import type { Gateway } from '../gateway/gateway.ts'
import type { Live } from '../gateway/live.ts'
import { Problem } from '../http/problem.ts'
import { readJson } from './read-json.ts'

export interface KeyTools {
  readonly keys: KeyStore
  readonly revocations: Revocations
  readonly issuedTokens: IssuedTokens
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly live: Live<Gateway>
}

const rotation = z.strictObject({ overlap })

const issued = z.strictObject({
  issuer: z.string().min(1).max(1_024).describe('`iss` of the token.'),
  tokenId: z.string().min(1).max(1_024).describe('`jti` of the token.'),
  until: z.int().min(0).describe('When it ends, in seconds since the epoch: its `exp`.'),
})

/** `/keys`: API keys of the store. `/issued-tokens`: what is on record. `/revocations`: what is no longer believed. */
export function keyEndpoints(router: Router, { keys, revocations, issuedTokens, now, live }: KeyTools): void {
  const request = keyRequest(now, () => Object.keys(live.current.definition.plans))

  router.get('/keys', async (ctx) => {
    const owner = ctx.query['owner']
    ctx.body = { keys: await keys.list(typeof owner === 'string' ? { owner } : {}) }
  })
  router.post('/keys', async (ctx) => {
    ctx.body = await keys.create(await readJson(ctx, request))
    ctx.status = 201
  })
  router.post('/keys/:id/rotate', async (ctx) => {
    const id = ctx.params['id']!
    const { outcome, ...rest } = await keys.rotate(id, (await readJson(ctx, rotation)).overlap)
    if (outcome === 'rotated') {
      ctx.body = rest
      ctx.status = 201
      return
    }
    const { reason } = rest as { readonly reason: string }
    if (reason === 'unknown') throw unknownKey(id)
    throw new Problem('conflict', `The key is ${reason}; create a new one`)
  })
  router.delete('/keys/:id', async (ctx) => {
    const id = ctx.params['id']!
    if (!(await keys.revoke(id))) throw unknownKey(id)
    ctx.status = 204
  })

  router.post('/issued-tokens', async (ctx) => {
    await issuedTokens.record(await readJson(ctx, issued))
    ctx.status = 204
  })

  router.get('/revocations', (ctx) => {
    ctx.body = { revocations: revocations.list() }
  })
  router.post('/revocations', async (ctx) => {
    await revoke(await readJson(ctx, revocationRequest), { revocations, keys })
    ctx.status = 204
  })
}

function unknownKey(id: string): Problem {
  return new Problem('not-found', `There is no key with the id "${id}"; GET /keys lists them`)
}
