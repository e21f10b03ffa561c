import { randomBytes } from 'node:crypto'
import { exportJWK, generateKeyPair, importJWK, type JWK, SignJWT } from 'jose'
import type { Algorithm } from '../../authentication/algorithms.ts'
import { metadataUrl } from '../../authentication/discovery.ts'
import { type FetchJson, fetchJson as fetchJsonByHttp } from '../../authentication/fetch-json.ts'
import { openIssuedTokens } from '../../authentication/issued-tokens.ts'
import { createSessionStore } from '../../authentication/session-store.ts'
import { secretKey } from '../../authentication/shared-secret.ts'
import type { JwtIssuer } from '../../authentication/token-issuer.ts'
import type { Definition, SecuritySchemeDefinition } from '../../config/schema.ts'
import type { ClientDefinition } from '../../issuer/settings.ts'
import { openSigningKeys } from '../../issuer/signing-keys.ts'
import type { Assembly } from '../assemble.ts'
import type { Minted } from './prove.ts'

/** Seconds that a credential lives; the longest run takes less. */
const life = 900
const subject = 'docs-verify'

/**
 * Issuers whose keys we do not have are stood in for: their metadata is theirs where they can be asked, and their key
 * set, or their word about a token, is made for this run. That their tokens are checked is proved, not who signs them.
 */
export interface StandIn {
  /** How issuers are asked instead of by HTTP. */
  readonly fetchJson: FetchJson
  /** Sign for any of them. */
  sign(algorithm: Algorithm, header: { readonly typ?: string }, claims: object): Promise<string>
}

export function createStandIn(definition: Definition, ask: FetchJson = fetchJsonByHttp): StandIn {
  const made = new Map<Algorithm, Promise<{ readonly key: SigningKey; readonly jwk: JWK }>>()
  const issuers = Object.values(definition.issuers).flatMap((issuer) => (issuer.type === 'oidc' ? [issuer] : []))
  const keyFor = (algorithm: Algorithm) => {
    const known = made.get(algorithm) ?? generate(algorithm)
    made.set(algorithm, known)
    return known
  }
  return {
    async fetchJson(request) {
      const { url, form } = request
      // A service's own token, for `forward`: it goes to nobody.
      if (form?.['grant_type'] !== undefined)
        return { access_token: 'docs-verify', token_type: 'Bearer', expires_in: life }
      if (form) return { active: true, ...answerAbout(definition, rightsOf(definition), url) }
      const described = issuers.find(({ issuer }) => metadataUrl(issuer) === url)
      if (described) return ask(request).catch(() => invented(described.issuer))
      const algorithms = [...new Set(issuers.map(({ algorithms: [first] }) => first!))]
      return { keys: await Promise.all(algorithms.map(async (algorithm) => (await keyFor(algorithm)).jwk)) }
    },
    async sign(algorithm, header, claims) {
      const { key, jwk } = await keyFor(algorithm)
      return new SignJWT({ ...claims }).setProtectedHeader({ alg: algorithm, kid: jwk.kid!, ...header }).sign(key)
    },
  }
}

type SigningKey = Awaited<ReturnType<typeof generateKeyPair>>['privateKey']

async function generate(algorithm: Algorithm) {
  const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true })
  return {
    key: privateKey,
    jwk: { ...(await exportJWK(publicKey)), alg: algorithm, kid: `verify-${algorithm}`, use: 'sig' },
  }
}

/** What an issuer says of itself, when it cannot be asked: enough to describe it, and an address for its keys. */
function invented(issuer: string) {
  const base = issuer.replace(/\/$/, '')
  return {
    issuer,
    jwks_uri: `${base}/keys`,
    token_endpoint: `${base}/token`,
    authorization_endpoint: `${base}/authorize`,
  }
}

function answerAbout({ issuers }: Definition, rights: Rights, url: string): object {
  for (const issuer of Object.values(issuers)) {
    if (issuer.type !== 'introspection' || issuer.endpoint !== url) continue
    const { audience, claims = {} } = issuer
    const own = { sub: subject, ...plainClaims(rights) }
    return {
      ...(audience && { aud: audience[0] }),
      ...(issuer.issuer && { iss: issuer.issuer }),
      ...mapped(own, claims),
    }
  }
  return {}
}

/** Everything that any route asks for, so that what is refused is refused for who calls. */
interface Rights {
  readonly roles: readonly string[]
  readonly permissions: readonly string[]
  readonly scopes: readonly string[]
}

function rightsOf({ security, services = [], roles = {} }: Definition): Rights {
  const allows = services.flatMap(({ allow, routes }) => [allow, ...routes.map((route) => route.allow)]).flat()
  const lists = [
    security,
    ...services.flatMap(({ security: own, routes }) => [own, ...routes.map((route) => route.security)]),
  ]
  const named = lists.flatMap((list) => (list ?? []).flatMap((alternative) => Object.values(alternative).flat()))
  const all = (pick: 'roles' | 'permissions' | 'scopes') => allows.flatMap((block) => block?.[pick] ?? [])
  const unique = (names: readonly string[]) => [...new Set(names)]
  return {
    // What a name in a requirement array means depends on its scheme: a caller with both has it either way.
    roles: unique([...Object.keys(roles), ...named, ...all('roles')]),
    permissions: unique(all('permissions')),
    scopes: unique([...named, ...all('scopes')]),
  }
}

function plainClaims({ roles, permissions, scopes }: Rights) {
  return { roles, permissions, scope: scopes.join(' ') }
}

/** What has to be there to mint a credential for every scheme. */
export interface MintTools {
  readonly definition: Definition
  readonly assembly: Assembly
  readonly standIn: StandIn
  readonly now: () => number
}

/** A credential for each security scheme, as good as real ones; `notes` say where they are not. */
export async function mintCredentials(
  tools: MintTools,
): Promise<{ readonly credentials: ReadonlyMap<string, Minted>; readonly notes: readonly string[] }> {
  const notes = new Set<string>()
  const credentials = new Map<string, Minted>()
  for (const [name, scheme] of Object.entries(tools.definition.securitySchemes))
    credentials.set(name, await mint(name, scheme, tools, (note) => notes.add(note)))
  return { credentials, notes: [...notes] }
}

async function mint(
  name: string,
  scheme: SecuritySchemeDefinition,
  tools: MintTools,
  note: (text: string) => void,
): Promise<Minted> {
  const { definition, assembly, now } = tools
  if (scheme.type === 'apiKey' && scheme.principal)
    return { impossible: `"${name}" is written by the proxy in front of the gateway, not by the page` }
  if (scheme.type === 'apiKey' && scheme.session) {
    note(`"${name}": the session is in the store as if somebody had signed in; the browser sends its cookie by itself`)
    const token = await tokenOf(scheme.session.issuer, tools, note)
    if ('impossible' in token) return token
    const store = createSessionStore(assembly.store, { ...scheme.session, now, random: randomBytes })
    const data = { signedInAt: Math.floor(now() / 1_000), subject: token.subject, accessToken: token.text }
    return { text: await store.create(data), subject: token.subject }
  }
  if (scheme.type === 'apiKey' && scheme.issuers === undefined) {
    const rights = rightsOf(definition)
    const { text } = await assembly.keys.create({
      owner: subject,
      roles: [...rights.roles],
      permissions: [...rights.permissions],
      scopes: [...rights.scopes],
    })
    return { text, subject }
  }
  const believed = scheme.issuers ?? Object.keys(definition.issuers)
  return tokenOf(believed[0]!, tools, note)
}

/** An access token of an issuer: of our own where we are the issuer, or share its secret; of a stand-in elsewhere. */
async function tokenOf(name: string, tools: MintTools, note: (text: string) => void): Promise<Minted> {
  const { definition, assembly, standIn, now } = tools
  const settings = definition.issuers[name]!
  if (settings.type === 'introspection') {
    note(`the issuer "${name}" was not asked about tokens: a stand-in said that the one of this run is active`)
    return { text: randomBytes(24).toString('base64url'), subject }
  }
  const issuer = assembly.live.current.issuers.get(name) as JwtIssuer
  const { profile } = issuer
  const seconds = Math.floor(now() / 1_000)
  const caller = { sub: subject, ...plainClaims(rightsOf(definition)) }
  const claims = {
    ...Object.fromEntries(profile.requiredClaims.map((claim) => [claim, 'verified'])),
    ...mapped(caller, profile.claims),
    iss: profile.issuer,
    aud: [...profile.audiences],
    iat: seconds,
    exp: seconds + Math.min(life, profile.maxLifetime),
    jti: randomBytes(16).toString('base64url'),
  }
  if (settings.revocation === 'allowlist') {
    const onRecord = openIssuedTokens(assembly.store)
    await onRecord.record({ issuer: profile.issuer, tokenId: claims.jti, until: claims.exp })
    onRecord.close()
  }
  const type = profile.types.find((one) => one !== 'absent')
  const header = type === undefined ? {} : { typ: type === 'jwt' ? 'JWT' : type }
  const algorithm = profile.algorithms[0]!
  switch (settings.type) {
    case 'embedded': {
      const options = { algorithm: settings.algorithm, tokenLife: life, rotateEvery: settings.rotateKeys / 1_000 }
      const keys = await openSigningKeys(assembly.store, options, assembly)
      const [jwk] = keys.signing
      keys.close()
      const key = await importJWK(jwk!, jwk!.alg)
      const signed = new SignJWT(claims).setProtectedHeader({ ...header, alg: jwk!.alg!, kid: jwk!.kid! })
      return { text: await signed.sign(key), subject }
    }
    case 'secret': {
      const key = secretKey(settings.secret, settings.secretEncoding)
      const signed = new SignJWT(claims).setProtectedHeader({
        ...header,
        alg: algorithm,
        ...(settings.keyId !== undefined && { kid: settings.keyId }),
      })
      return { text: await signed.sign(key), subject }
    }
    case 'oidc':
      note(`the issuer "${name}" has keys that we have not: a stand-in signed, and its key set stood for the issuer's`)
      return { text: await standIn.sign(algorithm, header, claims), subject }
  }
}

/** The claims where an issuer has them: under the first path that is written for each. */
function mapped(
  caller: {
    readonly sub: string
    readonly roles: readonly string[]
    readonly permissions: readonly string[]
    readonly scope: string
  },
  paths: {
    readonly subject?: readonly string[] | undefined
    readonly roles?: readonly string[] | undefined
    readonly permissions?: readonly string[] | undefined
    readonly scopes?: readonly string[] | undefined
  },
): Record<string, unknown> {
  const claims: Record<string, unknown> = {}
  const put = (written: readonly string[] | undefined, usual: string, value: unknown) => {
    const [path = usual] = written ?? []
    // A claim whose whole name is the path is found by it; only a JSON Pointer must be followed.
    if (!path.startsWith('/')) claims[path] = value
    else {
      const tokens = path
        .slice(1)
        .split('/')
        .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'))
      const last = tokens.pop()!
      let at = claims
      for (const token of tokens) {
        at[token] ??= {}
        at = at[token] as Record<string, unknown>
      }
      at[last] = value
    }
  }
  put(paths.subject, 'sub', caller.sub)
  put(paths.roles, 'roles', caller.roles)
  put(paths.permissions, 'permissions', caller.permissions)
  put(paths.scopes, 'scope', caller.scope)
  return claims
}

/** Tokens of the embedded issuer are good while their subject is: it gets a client of this run, which may do nothing else. */
export function withOwnClient(definition: Definition): Definition {
  const issuers = Object.entries(definition.issuers).map(([name, issuer]) => {
    if (issuer.type !== 'embedded') return [name, issuer] as const
    const client: ClientDefinition = {
      id: subject,
      secret: randomBytes(32).toString('base64url'),
      grants: [],
      scopes: [],
      roles: [],
      permissions: [],
      redirectUris: [],
      postLogoutRedirectUris: [],
      audiences: [],
    }
    return [name, { ...issuer, clients: [...issuer.clients, client] }] as const
  })
  return { ...definition, issuers: Object.fromEntries(issuers) }
}
