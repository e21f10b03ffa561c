import { Problem } from '../http/problem.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { Caller } from './caller.ts'
import { type Identification, identify, type SecurityRequirements } from './identify.ts'

/**
 * What a connection that outlives its request must hear: that the credential which opened it is no longer good.
 *
 * It is looked at twice a second. A verified token can only expire or be revoked, which is seen without looking at the
 * token again. About everything else (keys, sessions, tokens that only their issuer can read) the authenticators are
 * asked again, as if the request came now; an outage ends nothing.
 */
export interface CredentialWatch {
  /** `ended` is called once, with what the request would be answered with now. Returns how to stop. */
  watch(connection: WatchedConnection, ended: (problem: Problem) => void): () => void
  close(): void
}

export interface WatchedConnection {
  readonly head: RequestHead
  readonly security: SecurityRequirements
  readonly identification: Identification
}

export interface CredentialWatchTools {
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly revoked: (caller: Caller) => boolean
}

const interval = 500

export function createCredentialWatch({ now, revoked }: CredentialWatchTools): CredentialWatch {
  const watched = new Set<{ readonly connection: WatchedConnection; readonly ended: (problem: Problem) => void }>()
  let timer: NodeJS.Timeout | undefined

  function look(): void {
    for (const entry of watched) {
      const end = endOf(entry.connection)
      if (end instanceof Promise) void end.then((late) => late && finish(entry, late))
      else if (end) finish(entry, end)
    }
  }

  function finish(entry: Parameters<typeof watched.add>[0], problem: Problem): void {
    if (watched.delete(entry)) entry.ended(problem)
  }

  function endOf(connection: WatchedConnection): Problem | undefined | Promise<Problem | undefined> {
    const { caller } = connection.identification
    if (caller.expiresAt !== undefined && caller.expiresAt <= now() / 1_000)
      return new Problem('token-expired', 'The credential that opened the connection has expired')
    if (revoked(caller))
      return new Problem('invalid-token', 'The credential that opened the connection has been revoked')
    return caller.method === 'jwt' ? undefined : askAgain(connection)
  }

  return {
    watch(connection, ended) {
      // Where nobody was asked, nothing can end.
      if (connection.identification.credentials.length === 0) return () => {}
      const entry = { connection, ended }
      watched.add(entry)
      timer ??= setInterval(look, interval).unref()
      return function stop() {
        watched.delete(entry)
        if (watched.size > 0) return
        clearInterval(timer)
        timer = undefined
      }
    },
    close() {
      clearInterval(timer)
      watched.clear()
    },
  }
}

async function askAgain({ head, security, identification }: WatchedConnection): Promise<Problem | undefined> {
  try {
    const { caller } = await identify(security, head)
    const same = caller.subject === identification.caller.subject && caller.issuer === identification.caller.issuer
    return same ? undefined : new Problem('no-credentials', 'The credential that opened the connection has ended')
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    return error.status === 401 ? error : undefined
  }
}
