import { randomBytes } from 'node:crypto'
import type Router from '@koa/router'
import { z } from 'zod'
import type { TokenAuthenticator } from '../authentication/bearer.ts'
import { type LatestDecision, lineOf } from '../gateway/decision-archive.ts'
import type { Decisions } from '../gateway/decisions.ts'
import { createExplain, inquiry } from '../gateway/explain.ts'
import type { Gateway } from '../gateway/gateway.ts'
import type { Live } from '../gateway/live.ts'
import { Problem } from '../http/problem.ts'
import { createTracing } from '../http/trace-context.ts'
import { createVia } from '../http/via.ts'
import type { Peers } from './peers.ts'
import { readJson } from './read-json.ts'

export interface ExplainEndpointTools {
  readonly live: Live<Gateway>
  readonly decisions: Decisions
  readonly peers: Peers
  /** Milliseconds since the epoch. */
  readonly now: () => number
}

const inspection = z.strictObject({
  token: z.string().min(1, 'a token to look at').describe('A token as it stands behind "Bearer".'),
})

const longestList = 100

/** `/explain`: what would be done with a request. `/inspect`: what each scheme says of a token. `/decisions`: past refusals. */
export function explainEndpoints(router: Router, { live, decisions, peers, now }: ExplainEndpointTools): void {
  const explain = createExplain({
    now,
    counting: true,
    id: () => `explained-${randomBytes(8).toString('hex')}`,
    trace: createTracing(randomBytes),
    via: createVia(`explained-${randomBytes(8).toString('hex')}`),
  })

  router.post('/explain', async (ctx) => {
    ctx.body = await explain(live.current, await readJson(ctx, inquiry))
  })

  router.post('/inspect', async (ctx) => {
    const { token } = await readJson(ctx, inspection)
    const schemes = [...live.current.authenticators.values()].filter(isTokenAuthenticator)
    ctx.body = {
      schemes: await Promise.all(
        schemes.map(async (authenticator) => {
          const { caller, ...explanation } = await authenticator.explain(token.trim())
          return {
            scheme: authenticator.scheme,
            ...explanation,
            ...(caller && { caller: { ...caller, claims: undefined } }),
          }
        }),
      ),
    }
  })

  const latest = () =>
    decisions
      .list()
      .slice(0, longestList)
      .map(({ id, explanation }) => lineOf(id, explanation))
  peers.answer('decisions', latest)
  peers.answer('decision', (id) => decisions.find(id))

  router.get('/decisions', async (ctx) => {
    const archived = (await decisions.archive?.list()) ?? []
    const others = (await peers.ask('decisions')).flat()
    ctx.body = { decisions: latestOf([...latest(), ...others, ...archived]).slice(0, longestList) }
  })
  router.get('/decisions/:id', async (ctx) => {
    const id = ctx.params['id']!
    const explanation =
      decisions.find(id) ??
      (await peers.ask('decision', id)).find((found) => found !== undefined) ??
      (await decisions.archive?.find(id))
    if (!explanation)
      throw new Problem('not-found', 'No refusal of this id is kept: the last 1,000 answers of 401, 403 and 429 are')
    ctx.body = explanation
  })
}

/** Each once, the latest first. Times are ISO 8601 in UTC, which sort as text; those of one moment stay as they are. */
function latestOf(lines: readonly LatestDecision[]): readonly LatestDecision[] {
  const each = [...new Map(lines.map((line) => [line.id, line])).values()]
  return each.sort((one, other) => (one.at < other.at ? 1 : one.at > other.at ? -1 : 0))
}

function isTokenAuthenticator(authenticator: object): authenticator is TokenAuthenticator {
  return 'explain' in authenticator
}
