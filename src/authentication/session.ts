import { cookie } from '../http/cookies.ts'
import { challenge } from '../http/credentials.ts'
import { Problem } from '../http/problem.ts'
import { queryParameter } from '../http/query.ts'
import type { RequestHead } from '../http/request-head.ts'
import { returnPath } from '../http/return-path.ts'
import { StoreUnavailable } from '../store/store.ts'
import type { Tools } from '../tools.ts'
import { type Authentication, type Authenticator, absent } from './authenticator.ts'
import type { Caller } from './caller.ts'
import { compileClaimMap } from './claim-map.ts'
import { createJwtVerifier } from './jwt.ts'
import type { VerificationKey } from './key-import.ts'
import { createLogoutTokens, type LogoutRefusal } from './logout-token.ts'
import type { RelyingParty, Tokens } from './relying-party.ts'
import { TwoGenerations } from './remember.ts'
import { type SessionData, type SessionStore, type StoredSession, sessionId } from './session-store.ts'
import { findAttempt, newAttempt, withAttempt, withoutAttempt } from './sign-in-cookie.ts'
import type { JwtIssuer } from './token-issuer.ts'
import { callerOf } from './token-profile.ts'

export interface SessionsSettings {
  /** The name under `securitySchemes`. */
  readonly scheme: string
  /** The name of the cookie. */
  readonly cookie: string
  /** Whether the cookie goes without Secure. */
  readonly insecure: boolean
  /** What clients see, without a slash at the end. */
  readonly publicUrl: string
  /** The path where browsers go when nothing else is said. */
  readonly home: string
  /** Whose tokens the sessions hold. */
  readonly issuer: JwtIssuer
  readonly store: SessionStore
  readonly party: RelyingParty
  /** Who the gateway is to the issuer. */
  readonly clientId: string
  /** Asked on every request. A throw is an outage: 503. */
  readonly revoked: (caller: Caller) => boolean | Promise<boolean>
  readonly random: (bytes: number) => Buffer
}

/** Where a browser goes next, and the `Set-Cookie` lines of the answer. */
export interface Redirection {
  readonly location: string
  readonly cookies: readonly string[]
}

/** Sessions of browsers that signed in by OpenID Connect: the authenticator of the cookie, and how it comes and goes. */
export interface Sessions {
  readonly authenticator: Authenticator
  /** Names of the cookies, which no service sees or sets. */
  readonly cookies: readonly string[]
  /** `GET /login`: to the issuer. */
  begin(head: RequestHead): Promise<Redirection>
  /** `GET /login/callback`: back from the issuer. Throws `sign-in-refused` when the browser did not ask for this. */
  complete(head: RequestHead): Promise<Redirection>
  /** `POST /logout`: the session ends here, and `location` leads to where it ends at the issuer. */
  end(head: RequestHead): Promise<Redirection>
  /** `POST /logout/backchannel`: the issuer says that a sign-in is over (OpenID Connect Back-Channel Logout 1.0). */
  hear(logoutToken: string): Promise<LogoutHearing>
}

export type LogoutHearing =
  | { readonly outcome: 'ended' }
  | LogoutRefusal
  /** Nobody can say right now whose token it is: 503. */
  | { readonly outcome: 'unavailable'; readonly problem: Problem }

/** Where the issuer sends browsers back to; must be registered there as redirect URI. */
export const callbackPath = '/login/callback'

/** Where the issuer says that a sign-in is over; may be registered there as `backchannel_logout_uri`. */
export const backChannelPath = '/logout/backchannel'

/** Seconds that a sign-in at the issuer may take. */
const attemptLife = 1_800
/** An access token is renewed while it still holds, so that it does not end on its way to a service. Seconds. */
const longestHeadStart = 10
/** How long a request waits for another instance that renews the same session; milliseconds. */
const patience = 10_000
const lookAgain = 50

/** What a session came to, kept as long as its data is the same. */
interface Known {
  readonly sealed: string
  readonly caller: Caller
  /** Seconds since the epoch. */
  readonly endsAt: number
  /** Undefined when the ID token made the caller. */
  readonly key: VerificationKey | undefined
}

type Refusal = Extract<Authentication, { outcome: 'rejected' }>
type Read = { readonly outcome: 'read'; readonly known: Known } | Refusal

/**
 * The authenticator of an `apiKey` scheme with `session`.
 *
 * 1. One cookie of the right form, else 401; the answer takes the cookie away.
 * 2. Look the session up: in the store, every time, so that it ends everywhere at once.
 * 3. Renew the access token when it is about to end: one request to the issuer for all that come meanwhile, here
 *    (a promise) and on other instances (a lock in the store), because a refresh token that is used twice ends the login.
 *    The issuer no longer knows the login: the session ends, 401. It cannot be asked: the session stays, 503.
 * 4. Who calls is what the access token says, checked like any token of its issuer; or what the ID token said at
 *    sign-in, where the access token is not one that the gateway can read.
 * 5. Revoked? The session counts as issued when the person signed in, however fresh its tokens are.
 */
export function createSessions(settings: SessionsSettings, { now, log }: Tools): Sessions {
  const { scheme, cookie: name, insecure, publicUrl, home, issuer, store, party, revoked, random } = settings
  const logoutTokens = createLogoutTokens({ issuer, clientId: settings.clientId, now })
  const verifier = createJwtVerifier({ issuers: [issuer], now, idTokens: false, method: 'session' })
  const mapClaims = compileClaimMap(issuer.profile.claims)
  const origin = new URL(publicUrl).origin
  const attemptCookie = `${name}-login`
  const attributes = `; Path=/; HttpOnly; SameSite=Lax${insecure ? '' : '; Secure'}`
  const cleared = (cookieName: string) => `${cookieName}=; Max-Age=0${attributes}`
  const fields = {
    'WWW-Authenticate': challenge('Cookie', { realm: 'sallyport', name, login: '/login' }),
    'Set-Cookie': cleared(name),
  }
  const remembered = new TwoGenerations<Known>(10_000)
  const renewing = new Map<string, Promise<StoredSession | Refusal>>()

  const seconds = () => Math.floor(now() / 1_000)

  function rejected(reason: string, detail: string): Refusal {
    return { outcome: 'rejected', problem: new Problem('invalid-session', detail, { fields }), reason }
  }
  const over = () => rejected('over', 'The session is over; sign in again at /login.')

  // Nothing here waits when nothing has changed since the session's last request, unless who is revoked is asked elsewhere.
  function judge(id: string, session: StoredSession | undefined): Authentication | Promise<Authentication> {
    if (!session) return over()
    // 3.
    if (!isDue(session.data)) return read(id, session)
    return renewOnce(id, session).then((renewed) => ('outcome' in renewed ? renewed : read(id, renewed)))
  }

  function read(id: string, session: StoredSession): Authentication | Promise<Authentication> {
    // 4.
    const known = recall(session)
    if (known) return accept(id, session, known)
    return readAnew(session).then((found) => (found.outcome === 'read' ? accept(id, session, found.known) : found))
  }

  function accept(id: string, session: StoredSession, { caller }: Known): Authentication | Promise<Authentication> {
    const { accessToken } = session.data
    const accepted: Authentication = { outcome: 'accepted', caller, credential: id, accessToken }
    // 5.
    const verdict = revoked(caller)
    if (verdict === false) return accepted
    if (verdict === true) return refuseRevoked(session)
    return verdict.then((isRevoked) => (isRevoked ? refuseRevoked(session) : accepted))
  }

  async function refuseRevoked({ key }: StoredSession): Promise<Authentication> {
    await store.end(key)
    return rejected('revoked', 'The session has been revoked; sign in again at /login.')
  }

  const isDue = ({ refreshAt }: SessionData) => refreshAt !== undefined && seconds() >= refreshAt
  const isExpired = ({ accessEndsAt }: SessionData) => accessEndsAt !== undefined && seconds() >= accessEndsAt

  function renewOnce(id: string, session: StoredSession): Promise<StoredSession | Refusal> {
    const running = renewing.get(session.key)
    if (running) return running
    const promise = renew(id, session).finally(() => renewing.delete(session.key))
    renewing.set(session.key, promise)
    return promise
  }

  async function renew(id: string, session: StoredSession): Promise<StoredSession | Refusal> {
    const { key, data } = session
    if (data.refreshToken === undefined) {
      if (!isExpired(data)) return session
      await store.end(key)
      return over()
    }
    const until = now() + patience
    for (;;) {
      let outcome: StoredSession | Refusal | undefined
      await store.exclusively(key, async () => {
        // Another instance may have just done it.
        const current = await store.find(id)
        outcome = current && isDue(current.data) ? await refresh(id, current) : (current ?? over())
      })
      if (outcome) return outcome
      await new Promise((resolve) => setTimeout(resolve, lookAgain))
      const current = await store.find(id)
      if (!current) return over()
      if (!isDue(current.data)) return current
      if (now() > until)
        return unavailable(new Problem('issuer-unavailable', 'The session cannot be renewed right now'))
    }
  }

  /** Alone, as far as anybody can be. */
  async function refresh(id: string, session: StoredSession): Promise<StoredSession | Refusal> {
    const { data, key } = session
    let tokens: Tokens | 'ended'
    try {
      tokens = await party.refresh(data.refreshToken!)
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      log.warn({ err: error.cause ?? error, scheme }, 'a session could not be renewed; it stays')
      return isExpired(data) ? unavailable(error) : session
    }
    // OpenID Connect Core §12.2: a login never becomes another person's.
    if (tokens === 'ended' || (tokens.claims && tokens.claims['sub'] !== data.subject)) {
      await store.end(key)
      return over()
    }
    const { claims: _old, ...rest } = data
    const next: SessionData = {
      ...rest,
      ...timesOf(tokens),
      accessToken: tokens.accessToken,
      ...(tokens.refreshToken !== undefined && { refreshToken: tokens.refreshToken }),
      ...(tokens.idToken !== undefined && { idToken: tokens.idToken }),
      ...(data.claims && { claims: tokens.claims ?? data.claims }),
    }
    // It ended meanwhile: what was renewed is of no use to anybody.
    if (!(await store.replace(id, session, next))) return over()
    return (await store.find(id)) ?? over()
  }

  function timesOf({ expiresIn }: Tokens): Pick<SessionData, 'refreshAt' | 'accessEndsAt'> {
    if (expiresIn === undefined) return {}
    const accessEndsAt = seconds() + expiresIn
    return { accessEndsAt, refreshAt: accessEndsAt - Math.min(longestHeadStart, Math.floor(expiresIn / 10)) }
  }

  /** What the session came to before, as long as it would come to the same. */
  function recall({ key, sealed }: StoredSession): Known | undefined {
    const before = remembered.get(key)
    const isGood =
      before?.sealed === sealed && seconds() < before.endsAt && (!before.key || issuer.keys.holds(before.key))
    return isGood ? before : undefined
  }

  async function readAnew(session: StoredSession): Promise<Read> {
    const { key } = session
    remembered.delete(key)
    const found = session.data.claims ? readClaims(session, session.data.claims) : await readToken(session)
    if (found.outcome === 'read') remembered.set(key, found.known)
    return found
  }

  async function readToken(session: StoredSession): Promise<Read> {
    const { sealed } = session
    const verification = await verifier.verify(session.data.accessToken)
    switch (verification.outcome) {
      case 'verified': {
        const { caller, endsAt, key } = verification
        return { outcome: 'read', known: { sealed, caller: inSession(caller, session), endsAt, key } }
      }
      case 'refused':
        return rejected(verification.reason, 'The token behind the session is not accepted; sign in again at /login.')
      case 'unavailable':
        return unavailable(verification.problem)
    }
  }

  function readClaims(session: StoredSession, claims: Readonly<Record<string, unknown>>): Read {
    const mapped = mapClaims(claims)
    if (mapped.outcome === 'malformed')
      return rejected('malformed-claim', 'The issuer does not say who signed in; sign in again at /login.')
    const caller = inSession(callerOf(claims, mapped.caller, issuer.profile.issuer, 'session'), session)
    const { sealed } = session
    return { outcome: 'read', known: { sealed, caller, endsAt: Number.POSITIVE_INFINITY, key: undefined } }
  }

  const inSession = (caller: Caller, { data, ends }: StoredSession): Caller =>
    Object.freeze({ ...caller, tokenType: 'Cookie', issuedAt: data.signedInAt, expiresAt: ends })

  async function dataOf(tokens: Tokens): Promise<SessionData> {
    const { accessToken, refreshToken, idToken, claims = {} } = tokens
    const data = {
      signedInAt: seconds(),
      subject: String(claims['sub']),
      ...(typeof claims['sid'] === 'string' && { sid: claims['sid'] }),
      accessToken,
      ...timesOf(tokens),
      ...(refreshToken !== undefined && { refreshToken }),
      ...(idToken !== undefined && { idToken }),
    }
    const verification = await verifier.verify(accessToken)
    if (verification.outcome === 'unavailable') throw verification.problem
    return verification.outcome === 'verified' ? data : { ...data, claims }
  }

  /** The one value of a cookie of ours. */
  function only(head: RequestHead, cookieName: string): string | undefined {
    const values = cookie(head.fields, cookieName)
    return values.length === 1 ? values[0] : undefined
  }

  async function endCurrent(head: RequestHead): Promise<SessionData | undefined> {
    const id = only(head, name)
    if (id === undefined || !sessionId.test(id)) return undefined
    const session = await store.find(id)
    if (!session) return undefined
    await store.end(session.key)
    remembered.delete(session.key)
    return session.data
  }

  async function signOutAtIssuer({ refreshToken, idToken }: SessionData): Promise<string> {
    try {
      if (refreshToken !== undefined) await party.revoke(refreshToken)
      return (await party.signOutUrl(idToken)) ?? home
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      // Here the session is over; there it ends by itself.
      log.warn({ err: error.cause ?? error, scheme }, 'a session ended here but not at its issuer')
      return home
    }
  }

  return {
    authenticator: {
      scheme,
      names: 'roles',
      location: { in: 'cookie', name },
      explicit: false,
      challenge: fields['WWW-Authenticate'],
      authenticate: function authenticateSession(head) {
        // 1.
        const values = cookie(head.fields, name)
        if (values.length === 0) return absent
        const [id] = values
        if (values.length > 1) return rejected('several', 'The session cookie arrived more than once.')
        if (!sessionId.test(id!)) return rejected('malformed', 'This is no session; sign in at /login.')
        // 2.
        return store
          .find(id!, head.memory)
          .then((session) => judge(id!, session))
          .catch(storeUnavailable)
      },
    },
    cookies: [name, attemptCookie],

    async begin(head) {
      const returnTo = returnPath(theOnly(queryParameter(head.query, 'returnTo')), origin) ?? home
      const attempt = newAttempt(returnTo, random)
      const value = withAttempt(only(head, attemptCookie) ?? '', attempt)
      return {
        location: await party.signInUrl(attempt),
        cookies: [`${attemptCookie}=${value}; Max-Age=${attemptLife}${attributes}`],
      }
    },

    async complete(head) {
      const value = only(head, attemptCookie) ?? ''
      const state = theOnly(queryParameter(head.query, 'state'))
      const attempt = state === undefined ? undefined : findAttempt(value, state)
      if (!attempt) {
        throw new Problem(
          'sign-in-refused',
          'This browser did not ask for this sign-in, or too long ago; start at /login',
        )
      }
      const tokens = await party.finish(new URL(`${publicUrl}${callbackPath}?${head.query}`), attempt)
      const data = await dataOf(tokens)
      // Never the id that a browser came with: somebody else may know it.
      await endCurrent(head)
      const id = await store.create(data)
      const others = withoutAttempt(value, attempt)
      return {
        location: returnPath(attempt.returnTo, origin) ?? home,
        cookies: [
          `${name}=${id}${attributes}`,
          others === '' ? cleared(attemptCookie) : `${attemptCookie}=${others}; Max-Age=${attemptLife}${attributes}`,
        ],
      }
    },

    async end(head) {
      const ended = await endCurrent(head)
      return { location: ended ? await signOutAtIssuer(ended) : home, cookies: [cleared(name)] }
    },

    async hear(logoutToken) {
      const read = await logoutTokens.read(logoutToken)
      if (read.outcome !== 'read') {
        if (read.outcome === 'refused') log.warn({ reason: read.reason, scheme }, 'a logout token was refused')
        return read
      }
      const { messageId, until, of } = read
      if (await store.wasHeard(messageId)) return { outcome: 'refused', reason: 'replayed' }
      await store.endAll(of)
      // Only then: what could not be done the issuer may ask for again.
      await store.heard(messageId, until)
      return { outcome: 'ended' }
    },
  }
}

function theOnly(values: readonly string[]): string | undefined {
  return values.length === 1 ? values[0] : undefined
}

function unavailable(problem: Problem): Refusal {
  return { outcome: 'rejected', problem, reason: 'unavailable' }
}

/** The store is out: nobody can say whose session it is. Anything else is a defect. */
function storeUnavailable(cause: unknown): Authentication {
  if (!(cause instanceof StoreUnavailable)) throw cause
  return unavailable(
    new Problem('store-unavailable', 'Sessions cannot be checked right now.', {
      cause,
      fields: { 'Retry-After': '1' },
    }),
  )
}
