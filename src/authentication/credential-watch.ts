import { Problem } from '../http/problem.ts'
import type { RequestHead } from '../http/request-head.ts'
import type { Tools } from '../tools.ts'
import type { Caller } from './caller.ts'
import { type Identification, identify, type SecurityRequirements } from './identify.ts'

/**
 * What a connection that outlives its request must hear: that the credential which opened it is no longer good.
 *
 * Looks every 750 ms. A verified token can only expire or be revoked, which is seen without looking at the token again.
 * About everything else (keys, sessions, tokens that only their issuer can read) the authenticators are asked again, as
 * if the request came now: a session that was renewed lives on. An outage ends nothing.
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

export interface CredentialWatchTools extends Tools {
  readonly revoked: (caller: Caller) => boolean | Promise<boolean>
}

interface Entry {
  readonly connection: WatchedConnection
  readonly ended: (problem: Problem) => void
  /** Whether an answer is still awaited from the last time. */
  asked: boolean
}

const interval = 750

export function createCredentialWatch({ now, log, revoked }: CredentialWatchTools): CredentialWatch {
  const watched = new Set<Entry>()
  let timer: NodeJS.Timeout | undefined

  function look(): void {
    for (const entry of watched) {
      const { caller, credentials } = entry.connection.identification
      if (caller.method !== 'jwt' || credentials.length > 1) void ask(entry)
      else if (caller.expiresAt !== undefined && caller.expiresAt <= now() / 1_000)
        finish(entry, new Problem('token-expired', 'The token that opened the connection has expired'))
      else {
        const end = (isRevoked: boolean) => {
          if (isRevoked)
            finish(entry, new Problem('invalid-token', 'The token that opened the connection has been revoked'))
        }
        const verdict = revoked(caller)
        if (verdict instanceof Promise) verdict.then(end, () => {})
        else end(verdict)
      }
    }
  }

  async function ask(entry: Entry): Promise<void> {
    if (entry.asked) return
    entry.asked = true
    try {
      const { head, security, identification } = entry.connection
      const { caller } = await identify(security, head)
      // Another credential of the same request may be good still, but it was not the one that decided.
      if (caller.subject !== identification.caller.subject || caller.issuer !== identification.caller.issuer)
        finish(entry, new Problem('no-credentials', 'The credential that opened the connection is no longer good'))
    } catch (error) {
      if (error instanceof Problem && error.status === 401) finish(entry, error)
      else if (!(error instanceof Problem)) log.error({ err: error }, 'a credential could not be looked at again')
    } finally {
      entry.asked = false
    }
  }

  function finish(entry: Entry, problem: Problem): void {
    if (watched.delete(entry)) entry.ended(problem)
  }

  return {
    watch(connection, ended) {
      // Where nobody was asked, nothing can end.
      if (connection.identification.credentials.length === 0) return () => {}
      const entry: Entry = { connection, ended, asked: false }
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
      timer = undefined
      watched.clear()
    },
  }
}
