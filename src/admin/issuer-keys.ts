import type Router from '@koa/router'
import type { Gateway } from '../gateway/gateway.ts'
import type { Live } from '../gateway/live.ts'
import { Problem } from '../http/problem.ts'
import { AnnouncedLately } from '../issuer/signing-keys.ts'

/** `/issuer-keys`: what the embedded issuer signs with. `/issuers/{name}/refresh`: the keys of an issuer elsewhere. */
export function issuerKeyEndpoints(router: Router, { live }: { readonly live: Live<Gateway> }): void {
  function signingKeys() {
    const { issuer } = live.current
    if (!issuer) throw new Problem('not-found', 'This gateway has no embedded issuer')
    return issuer.signingKeys
  }

  router.post('/issuers/:name/refresh', async (ctx) => {
    const name = ctx.params['name']!
    const issuer = live.current.issuers.get(name)
    if (!issuer) throw new Problem('not-found', `There is no issuer "${name}" in services.json`)
    if (issuer.kind !== 'jwt' || !issuer.refreshKeys)
      throw new Problem('conflict', `The keys of "${name}" are not fetched from anywhere`)
    if (!(await issuer.refreshKeys()))
      throw new Problem('issuer-unavailable', 'The keys could not be fetched; the known ones go on. The log says why')
    ctx.status = 204
  })

  router.get('/issuer-keys', (ctx) => {
    ctx.body = { keys: signingKeys().list() }
  })
  router.post('/issuer-keys', async (ctx) => {
    const keys = signingKeys()
    try {
      ctx.body = { announced: await keys.rotate(), keys: keys.list() }
      ctx.status = 201
    } catch (error) {
      if (!(error instanceof AnnouncedLately)) throw error
      throw new Problem('conflict', 'A new key was announced within the last two minutes; GET /issuer-keys lists it')
    }
  })
  router.delete('/issuer-keys/:kid', async (ctx) => {
    const kid = ctx.params['kid']!
    const removal = await signingKeys().remove(kid)
    if (removal.outcome === 'unknown')
      throw new Problem('not-found', `There is no signing key "${kid}"; GET /issuer-keys lists them`)
    ctx.body = { removed: kid, active: removal.active }
  })
}
