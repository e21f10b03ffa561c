import { createHash, generateKeyPairSync, randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, SignJWT } from 'jose'
import { closeServer } from './backend.ts'

/** An OpenID provider without pages: whoever comes is signed in, and every answer can be bent. */
export interface ProviderUnderTest extends AsyncDisposable {
  readonly issuer: string
  /** Grant types and client authentication of the token requests, oldest first. */
  readonly asked: { readonly grant: string; readonly basic: boolean; readonly form: URLSearchParams }[]
  readonly bend: Bending
  /** How a browser comes back that went to this address. */
  authorize(url: string): string
  /** Signs whatever it is told to, as if it were its own. */
  sign(header: object, claims: object): Promise<string>
}

interface Bending {
  /** Seconds that access tokens live. */
  life: number
  /** What access tokens are: JWTs for the audience "api", or texts that only the issuer can read. */
  opaque: boolean
  /** Instead of the nonce that was sent. */
  nonce: string | undefined
  /** Instead of the issuer in the answer to the browser; null leaves it out. */
  iss: string | null | undefined
  /** The status of an answer to a refresh that fails; "invalid_grant" is a 400. */
  refresh: 'fine' | 'invalid_grant' | 'broken' | 'cut'
  /** What stands at the address of the keys: the one that signs, or another, or an error. */
  keys: 'fine' | 'others' | 'broken'
  /** Milliseconds before the token endpoint answers. */
  delay: number
  /** `sid` of ID tokens. */
  sid: string | undefined
  /** `sub` of the tokens from a refresh. */
  subject: string
}

export async function startProvider(methods = ['client_secret_basic']): Promise<ProviderUnderTest> {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwk = { ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256', use: 'sig' }
  const other = {
    ...(await exportJWK(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey)),
    kid: 'two',
    alg: 'ES256',
  }
  const codes = new Map<string, URLSearchParams>()
  const living = new Set<string>()
  const asked: ProviderUnderTest['asked'] = []
  const bend: Bending = {
    life: 300,
    opaque: false,
    nonce: undefined,
    iss: undefined,
    refresh: 'fine',
    keys: 'fine',
    delay: 0,
    sid: undefined,
    subject: 'grace',
  }
  const issue = (typ: string, claims: object, audience: string, life: number) =>
    new SignJWT({ ...claims, jti: randomUUID() })
      .setProtectedHeader({ alg: 'ES256', kid: 'one', typ })
      .setIssuer(issuer)
      .setSubject(bend.subject)
      .setAudience(audience)
      .setIssuedAt()
      .setExpirationTime(`${life}s`)
      .sign(privateKey)

  async function tokens(nonce: string | undefined) {
    const refreshToken = randomUUID()
    living.add(refreshToken)
    return {
      access_token: bend.opaque
        ? `opaque-${randomUUID()}`
        : await issue('at+jwt', { client_id: 'gateway', roles: ['editor'] }, 'api', bend.life),
      token_type: 'Bearer',
      expires_in: bend.life,
      refresh_token: refreshToken,
      id_token: await issue(
        'JWT',
        { nonce, sid: bend.sid, email: 'grace@navy.example', roles: ['from-id-token'] },
        'gateway',
        300,
      ),
    }
  }

  async function token(form: URLSearchParams) {
    const grant = form.get('grant_type')
    if (grant === 'refresh_token') {
      const used = form.get('refresh_token') ?? ''
      if (bend.refresh === 'invalid_grant' || !living.delete(used)) return { error: 'invalid_grant' }
      return tokens(undefined)
    }
    const request = codes.get(form.get('code') ?? '')
    codes.delete(form.get('code') ?? '')
    const verifier = createHash('sha256')
      .update(form.get('code_verifier') ?? '')
      .digest('base64url')
    if (!request || request.get('code_challenge') !== verifier) return { error: 'invalid_grant' }
    return tokens(bend.nonce ?? request.get('nonce') ?? undefined)
  }

  const server = createServer(async (req, res) => {
    const { pathname } = new URL(req.url!, issuer)
    const say = (status: number, body: object) =>
      res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    if (pathname === '/.well-known/openid-configuration')
      return say(200, {
        issuer,
        authorization_endpoint: `${issuer}/authorize`,
        token_endpoint: `${issuer}/token`,
        jwks_uri: `${issuer}/keys`,
        end_session_endpoint: `${issuer}/bye`,
        token_endpoint_auth_methods_supported: methods,
        id_token_signing_alg_values_supported: ['ES256'],
        authorization_response_iss_parameter_supported: true,
      })
    if (pathname === '/keys')
      return say(bend.keys === 'broken' ? 500 : 200, { keys: bend.keys === 'others' ? [other] : [jwk] })
    const chunks: Buffer[] = []
    for await (const chunk of req) chunks.push(chunk as Buffer)
    const form = new URLSearchParams(Buffer.concat(chunks).toString())
    const grant = form.get('grant_type') ?? ''
    asked.push({ grant, basic: req.headers.authorization?.startsWith('Basic ') === true, form })
    if (bend.delay > 0) await new Promise((resolve) => setTimeout(resolve, bend.delay))
    if (grant === 'refresh_token' && bend.refresh === 'cut') return res.destroy()
    if (grant === 'refresh_token' && bend.refresh === 'broken') return say(500, {})
    const answer = await token(form)
    return say('error' in answer ? 400 : 200, answer)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  return {
    issuer,
    asked,
    bend,
    sign: (header, claims) =>
      new SignJWT({ ...claims }).setProtectedHeader({ alg: 'ES256', kid: 'one', ...header }).sign(privateKey),
    authorize(url) {
      const { searchParams } = new URL(url)
      const code = randomUUID()
      codes.set(code, searchParams)
      const back = new URL(searchParams.get('redirect_uri')!)
      back.searchParams.set('code', code)
      back.searchParams.set('state', searchParams.get('state')!)
      if (bend.iss !== null) back.searchParams.set('iss', bend.iss ?? issuer)
      return back.href
    },
    [Symbol.asyncDispose]: () => closeServer(server),
  }
}
