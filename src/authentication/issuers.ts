import { z } from 'zod'
import { defineKind } from '../kind.ts'
import type { Store } from '../store/store.ts'
import type { Tools } from '../tools.ts'
import { duration, httpUrl } from '../values.ts'
import { algorithms, type PublicAlgorithm, publicAlgorithms, secretAlgorithms } from './algorithms.ts'
import { claimMapOf, claimMapSettings, defaultClaimMap } from './claim-map.ts'
import { discover, type IssuerMetadata } from './discovery.ts'
import { type FetchJson, fetchJson as fetchJsonByHttp } from './fetch-json.ts'
import { introspectingIssuer } from './introspection.ts'
import { type KeySource, localKeySet, secretKeySet } from './key-set.ts'
import { type KeySetEvents, remoteKeySet } from './remote-key-set.ts'
import { complainAboutSecret, secretEncodings, secretKey } from './shared-secret.ts'
import type { IntrospectingIssuer, JwtIssuer } from './token-issuer.ts'

/** What the kinds of issuers are handed. */
export interface IssuerTools extends Tools {
  /** The issuer's name in services.json. */
  readonly name: string
  /** Keeps key sets for a start while their issuer is away. */
  readonly store?: Store
  /** For metrics. */
  readonly keySetEvents?: KeySetEvents
  /** From 0 to 1, 1 excluded. */
  readonly random?: () => number
  /** How issuers are asked; by HTTP unless something else is handed in. */
  readonly fetchJson?: FetchJson
}

/* The settings that kinds share */

const issuer = z
  .string('the issuer is a string: the `iss` of its tokens')
  .min(1, 'the issuer is not empty: the `iss` of its tokens')
  .describe('The `iss` of the tokens, to the letter: a trailing slash counts.')

const name = z.string().min(1, 'an audience is not empty')
const audience = z
  .union([name.transform((one) => [one]), z.array(name).min(1, 'name at least one audience')], {
    error: 'the audience is a string such as "api://orders", or a list of such strings',
  })
  .describe('Who the tokens must be for: the `aud` of the tokens, or a list any of which is enough.')

const tenYears = 3_650 * 86_400_000

const tokenRules = {
  typ: z
    .union([z.string().transform((one) => [one]), z.array(z.string()).min(1, 'name at least one type')], {
      error: 'the type is a string such as "at+jwt", or a list of such strings',
    })
    .optional()
    .describe(
      'The types of token to accept, as their header says in `typ`: "at+jwt" (RFC 9068), "JWT", or "absent" for tokens ' +
        'that say none. Name only "at+jwt" if the issuer writes it. Default: these three, but no ID tokens.',
    ),
  idTokens: z
    .boolean()
    .default(false)
    .describe(
      'Accept ID tokens in Authorization as if they were access tokens. In a header field of their own they always are.',
    ),
  clockTolerance: duration(300_000)
    .prefault('5s')
    .describe('How far the clocks of issuer and gateway may be apart when times are judged; at most "5m".'),
  maxLifetime: duration(tenYears).prefault('24h').describe('The longest time from `iat` to `exp` that is accepted.'),
  requiredClaims: z
    .array(z.string())
    .default(['sub', 'iat'])
    .describe('Claims that must be there besides `iss`, `aud` and `exp`, which always must.'),
  headerParameters: z
    .array(z.string())
    .default([])
    .describe(
      'Further header parameters of this issuer’s tokens that are ignored; unknown ones are refused otherwise.',
    ),
  claims: claimMapSettings.optional(),
  revocation: z
    .enum(['denylist', 'allowlist'])
    .default('denylist')
    .describe(
      '"denylist" (the default): a token is good until it expires or is revoked. "allowlist": besides, its `jti` must ' +
        'be on record; whoever issues the tokens puts them there with POST /issued-tokens on the admin port.',
    ),
}

const defaultTypes = ['at+jwt', 'jwt', 'absent']

/* oidc */

const publicAlgorithm = z.enum(publicAlgorithms, {
  error: ({ input }) =>
    input === 'none'
      ? '"none" would accept tokens that nobody signed'
      : Object.hasOwn(algorithms, String(input))
        ? `${input} needs a shared secret, and one issuer has either keys or a secret: use the issuer type "secret"`
        : `one of ${publicAlgorithms.join(', ')}`,
})

export const oidcIssuer = defineKind({
  type: 'oidc',
  settings: z.strictObject({
    issuer: issuer
      .refine((text) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol), {
        error: 'the issuer is a URL with https:// (or http:// on a machine of your own)',
      })
      .refine((text) => !/[?#]/.test(text), { error: 'the issuer has no query and no fragment (RFC 8414 §2)' }),
    audience,
    algorithms: z
      .array(publicAlgorithm)
      .min(1, 'name at least one algorithm')
      .default(['RS256'])
      .describe(
        'The signature algorithms to accept. A key that names no algorithm is used for the first of these that fits it.',
      ),
    jwksUri: httpUrl('jwksUri')
      .optional()
      .describe('Where the issuer publishes its keys. Default: what its /.well-known/openid-configuration says.'),
    keysMaxAge: duration(86_400_000)
      .prefault('10m')
      .describe('A key that the issuer withdraws is refused after this time at the latest.'),
    keysStaleFor: duration(30 * 86_400_000)
      .prefault('72h')
      .describe('How long known keys stay good while the issuer cannot be reached.'),
    ...tokenRules,
  }),
  create(settings, tools: IssuerTools): JwtIssuer {
    const { name, log, now, store, keySetEvents, random = Math.random, fetchJson = fetchJsonByHttp } = tools
    if (isExposed(settings.jwksUri ?? settings.issuer))
      log.warn(
        { issuer: name },
        'the keys of the issuer are fetched without TLS: whoever stands between can replace them',
      )

    const metadata = rememberMetadata(() => discover(settings.issuer, fetchJson), now)
    const keys = remoteKeySet({
      name,
      issuer: settings.issuer,
      locate: () => settings.jwksUri ?? metadata.get().then(({ jwksUri }) => jwksUri),
      algorithms: settings.algorithms,
      fetchJson,
      now,
      random,
      log,
      store,
      events: {
        ...keySetEvents,
        fetched(event) {
          // Perhaps the keys have moved.
          if (event.outcome === 'failed') metadata.forget()
          keySetEvents?.fetched?.(event)
        },
      },
      maxAge: settings.keysMaxAge,
      staleFor: settings.keysStaleFor,
    })
    // The operator of one gateway knows it for all of them.
    const close = store?.subscribe(refreshing, (issuer) => {
      if (issuer === settings.issuer) void keys.refresh()
    })
    return {
      kind: 'jwt',
      name,
      profile: profileOf(settings, name),
      keys,
      metadata: metadata.get,
      async refreshKeys() {
        const refreshed = keys.refresh()
        await store?.publish(refreshing, settings.issuer)
        return refreshed
      },
      ...(close && { close }),
    }
  },
})

const refreshing = 'key-sets.refresh'

/* secret */

const secretAlgorithm = z.enum(secretAlgorithms, {
  error: ({ input }) =>
    input === 'none'
      ? '"none" would accept tokens that nobody signed'
      : Object.hasOwn(algorithms, String(input))
        ? `${input} needs public keys, and one issuer has either keys or a secret: use the issuer type "oidc"`
        : `one of ${secretAlgorithms.join(', ')}`,
})

export const secretIssuer = defineKind({
  type: 'secret',
  settings: z.strictObject({
    issuer,
    audience,
    algorithms: z
      .array(secretAlgorithm)
      .min(1, 'name at least one algorithm')
      .default(['HS256'])
      .describe('The algorithms to accept: HS256, HS384, HS512.'),
    secret: z
      .string('the secret is a string; take it from the environment: "${JWT_SECRET}"')
      .describe('What issuer and gateway share: at least 32, 48 or 64 random bytes for HS256, HS384, HS512.'),
    secretEncoding: z
      .enum(secretEncodings)
      .default('utf8')
      .describe('How the secret is written: "utf8" for the text as it is, or "base64", "base64url", "hex".'),
    keyId: z.string().optional().describe('The `kid` that tokens must name. Default: any or none.'),
    ...tokenRules,
  }),
  refine(settings, complain) {
    const complaint = complaintAbout(settings)
    if (complaint) complain(['secret'], `the secret ${complaint}`)
  },
  create(settings, { name }: IssuerTools): JwtIssuer {
    const { secret, secretEncoding, algorithms: names, keyId } = settings
    const complaint = complaintAbout(settings)
    if (complaint) throw new TypeError(`the secret of the issuer "${name}" ${complaint}`)
    const keys = secretKeySet(secretKey(secret, secretEncoding), names, keyId)
    return { kind: 'jwt', name, profile: profileOf(settings, name), keys }
  },
})

function complaintAbout({ secret, secretEncoding, algorithms: names }: z.output<typeof secretIssuer.settings>) {
  return complainAboutSecret(secret, secretEncoding, Math.max(...names.map((name) => algorithms[name].bytes)))
}

/* introspection */

export const introspectionIssuer = defineKind({
  type: 'introspection',
  settings: z.strictObject({
    endpoint: httpUrl('endpoint').describe('The introspection endpoint (RFC 7662).'),
    clientId: z.string().min(1, 'the client id is not empty').describe('Who the gateway is to the endpoint.'),
    clientSecret: z
      .string()
      .min(1, 'the client secret is not empty; take it from the environment: "${INTROSPECTION_SECRET}"')
      .describe('How the gateway proves itself to the endpoint.'),
    clientAuthentication: z
      .enum(['client_secret_basic', 'client_secret_post'])
      .default('client_secret_basic')
      .describe('Where the secret goes: the Authorization field, or the form.'),
    issuer: issuer
      .optional()
      .describe('JWTs with this `iss` are asked about as well; and answers must name it, if they name an issuer.'),
    audience: audience.optional(),
    remember: duration(60_000)
      .prefault('60s')
      .describe('How long "active" may be relied on, at most "60s": a token that is withdrawn works for this long.'),
    claims: claimMapSettings.optional(),
  }),
  create(settings, { name, log, now, fetchJson = fetchJsonByHttp }: IssuerTools): IntrospectingIssuer {
    const { endpoint, clientId, clientSecret, clientAuthentication, issuer, audience, remember } = settings
    if (isExposed(endpoint))
      log.warn(
        { issuer: name },
        'tokens and the client secret go to the endpoint without TLS: whoever stands between can read them',
      )
    return introspectingIssuer({
      name,
      endpoint,
      clientId,
      clientSecret,
      clientAuthentication,
      issuer,
      audiences: audience ?? [],
      // RFC 7662 §2.2: `sub` is optional, as for a client that acts for itself.
      claims: { ...claimMapOf(settings.claims), subject: settings.claims?.subject ?? ['sub', 'username', 'client_id'] },
      remember: Math.floor(remember / 1_000),
      fetchJson,
      now,
      log,
    })
  },
})

/* The built-in issuer */

export interface EmbeddedIssuerSettings {
  readonly name: string
  readonly issuer: string
  readonly audiences: readonly string[]
  readonly algorithms: readonly PublicAlgorithm[]
  readonly keys: KeySource
  readonly metadata: () => Promise<IssuerMetadata>
  readonly log: Tools['log']
}

/**
 * The built-in OpenID provider as an issuer: its keys come from memory, its access tokens are `at+jwt`, and it runs by
 * the gateway's own clock, so a token that has expired has expired.
 */
export function embeddedTokenIssuer({
  name,
  issuer,
  audiences,
  algorithms: names,
  keys,
  metadata,
  log,
}: EmbeddedIssuerSettings): JwtIssuer {
  const keySet = localKeySet(keys, names, log)
  return {
    kind: 'jwt',
    name,
    profile: {
      name,
      issuer,
      audiences,
      algorithms: names,
      types: ['at+jwt'],
      headerParameters: [],
      idTokens: false,
      clockTolerance: 0,
      maxLifetime: Number.POSITIVE_INFINITY,
      requiredClaims: ['sub', 'iat', 'jti'],
      claims: { ...defaultClaimMap, family: ['fam'] },
    },
    keys: keySet,
    metadata,
    close: keySet.close,
  }
}

type RuleSettings = z.output<typeof oidcIssuer.settings> | z.output<typeof secretIssuer.settings>

function profileOf(settings: RuleSettings, name: string): JwtIssuer['profile'] {
  const { issuer, audience, typ, idTokens, clockTolerance, maxLifetime, requiredClaims, headerParameters } = settings
  return {
    name,
    issuer,
    audiences: audience,
    algorithms: settings.algorithms,
    types: typ ?? defaultTypes,
    headerParameters,
    idTokens,
    clockTolerance: clockTolerance / 1_000,
    maxLifetime: maxLifetime / 1_000,
    requiredClaims,
    claims: claimMapOf(settings.claims),
  }
}

/** Plain HTTP to another machine. */
function isExposed(url: string): boolean {
  const { protocol, hostname } = new URL(url)
  return protocol === 'http:' && hostname !== 'localhost' && hostname !== '[::1]' && !hostname.startsWith('127.')
}

const metadataMaxAge = 3_600_000

/** One request for all who ask at once, and none for an hour after; a failure is not remembered. */
function rememberMetadata(ask: () => Promise<IssuerMetadata>, now: () => number) {
  let current: Promise<IssuerMetadata> | undefined
  let askedAt = 0
  return {
    get(): Promise<IssuerMetadata> {
      if (current && now() - askedAt < metadataMaxAge) return current
      askedAt = now()
      const asked = ask()
      current = asked
      asked.catch(() => {
        if (current === asked) current = undefined
      })
      return asked
    },
    forget(): void {
      current = undefined
    },
  }
}
