import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK } from 'jose'
import { type ClientMetadata, type Configuration, Provider } from 'oidc-provider'
import { closeServer } from './backend.ts'
import { Jar } from './jar.ts'

/** oidc-provider as an issuer elsewhere: a certified OpenID provider, where whoever comes is the one they say they are. */
export interface ElsewhereUnderTest extends AsyncDisposable {
  readonly issuer: string
  /** Messages to clients that could not be delivered, oldest first. */
  readonly undelivered: readonly string[]
  /** A browser of somebody, with the cookies of the provider. */
  browser(): Jar
  /** Follows an address of the provider as this person until it leads away; where to. */
  signIn(browser: Jar, address: string, person: string): Promise<string>
  /** The person signs out at the provider itself, whose clients hear of it. */
  signOut(browser: Jar): Promise<void>
}

/** `reach` turns the public address of a client into where it is. */
export async function startOidcProvider(
  client: ClientMetadata,
  reach: (url: string) => string,
): Promise<ElsewhereUnderTest> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const undelivered: string[] = []
  let person = ''
  let answer: ReturnType<Provider['callback']> | undefined
  const server = createServer((req, res) => {
    const uid = /^\/interaction\/([\w-]+)/.exec(req.url ?? '')?.[1]
    if (uid === undefined) return answer!(req, res)
    return provider
      .interactionDetails(req, res)
      .then(() => provider.interactionFinished(req, res, { login: { accountId: person } }))
      .catch((error: Error) => res.writeHead(500).end(error.message))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const provider = new Provider(issuer, {
    clients: [{ ...client, id_token_signed_response_alg: 'ES256' }],
    jwks: { keys: [{ ...(await exportJWK(privateKey)), kid: 'one', alg: 'ES256', use: 'sig' }] },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    findAccount: (_ctx: unknown, id: string) => ({ accountId: id, claims: () => ({ sub: id }) }),
    interactions: { url: (_ctx: unknown, { uid }: { uid: string }) => `/interaction/${uid}` },
    loadExistingGrant: async ({ oidc }: { oidc: never }) => {
      const { client, account, provider } = oidc as {
        client: { clientId: string }
        account: { accountId: string }
        provider: Provider
      }
      const grant = new provider.Grant({ clientId: client.clientId, accountId: account.accountId })
      grant.addOIDCScope('openid profile email offline_access')
      await grant.save()
      return grant
    },
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: (ctx: { body: string }, form: string) => {
          ctx.body = form
        },
      },
    },
    fetch: (url: string, options: RequestInit) => {
      // It would not call this machine by itself, which is right for a provider.
      const { dispatcher: _, ...rest } = options as RequestInit & { dispatcher?: unknown }
      return fetch(reach(String(url)), rest)
    },
  } as unknown as Configuration)
  provider.on('backchannel.error', (_ctx, error) => undelivered.push(String(error)))
  answer = provider.callback()

  return {
    issuer,
    undelivered,
    browser: () => new Jar(issuer, issuer),
    async signIn(browser, address, who) {
      person = who
      let next = address
      for (let hops = 0; hops < 8 && next.startsWith(issuer); hops += 1) {
        const { status, location, text } = await browser.send(next)
        if (location === undefined) throw new Error(`the provider answers ${status} ${text}`)
        next = new URL(location, issuer).href
      }
      return next
    },
    async signOut(browser) {
      const { text } = await browser.send('/session/end')
      const xsrf = /name="xsrf" value="([^"]+)"/.exec(text)?.[1]
      if (!xsrf) throw new Error(`no form to sign out: ${text}`)
      const { status, text: said } = await browser.send('/session/end/confirm', {
        method: 'POST',
        form: { xsrf, logout: 'yes' },
      })
      if (status >= 400) throw new Error(`not signed out: ${status} ${said}`)
    },
    [Symbol.asyncDispose]: () => closeServer(server),
  }
}
