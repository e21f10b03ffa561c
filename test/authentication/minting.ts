import { constants, createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import type { Server } from 'node:http'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { JWK } from 'jose'
import type { Algorithm, PublicAlgorithm } from '../../src/authentication/algorithms.ts'
import { defaultClaimMap } from '../../src/authentication/claim-map.ts'
import { type KeySet, localKeySet } from '../../src/authentication/key-set.ts'
import type { JwtIssuer } from '../../src/authentication/token-issuer.ts'
import type { TokenProfile } from '../../src/authentication/token-profile.ts'
import { createFields } from '../../src/http/fields.ts'
import type { RequestHead } from '../../src/http/request-head.ts'
import { silent } from '../../src/telemetry/log.ts'

/** The moment at which the tests of this folder take place, seconds since the epoch. */
export const startOfTest = 1_790_000_000

/** A clock that only a test moves. */
export function testClock(seconds = startOfTest) {
  let milliseconds = seconds * 1_000
  return {
    now: () => milliseconds,
    seconds: () => milliseconds / 1_000,
    advance: (by: number) => {
      milliseconds += by * 1_000
    },
  }
}

const generators = {
  rsa: () => generateKeyPairSync('rsa', { modulusLength: 2_048 }),
  'P-256': () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  'P-384': () => generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  'P-521': () => generateKeyPairSync('ec', { namedCurve: 'P-521' }),
  Ed25519: () => generateKeyPairSync('ed25519'),
}

const keyTypes: Record<PublicAlgorithm, keyof typeof generators> = {
  RS256: 'rsa',
  RS384: 'rsa',
  RS512: 'rsa',
  PS256: 'rsa',
  PS384: 'rsa',
  PS512: 'rsa',
  ES256: 'P-256',
  ES384: 'P-384',
  ES512: 'P-521',
  EdDSA: 'Ed25519',
  Ed25519: 'Ed25519',
}

export interface SigningKey {
  readonly kid: string
  readonly algorithm: Algorithm
  readonly privateKey: KeyObject
  /** The public key as an issuer publishes it. */
  readonly jwk: JWK
}

export function newKey(algorithm: PublicAlgorithm, kid: string = algorithm): SigningKey {
  const { privateKey, publicKey } = generators[keyTypes[algorithm]]()
  const jwk = { ...(publicKey.export({ format: 'jwk' }) as JWK), kid, alg: algorithm, use: 'sig' }
  return { kid, algorithm, privateKey, jwk }
}

/** A signature over any bytes, by the rules of RFC 7518 and RFC 8037. */
export function signatureOf(algorithm: Algorithm, key: KeyObject, input: string): Buffer {
  const bytes = Buffer.from(input)
  const digest = `sha${algorithm.slice(2)}`
  switch (algorithm.slice(0, 2)) {
    case 'HS':
      return createHmac(digest, key).update(bytes).digest()
    case 'RS':
      return sign(digest, bytes, key)
    case 'PS':
      return sign(digest, bytes, {
        key,
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
      })
    case 'ES':
      return sign(digest, bytes, { key, dsaEncoding: 'ieee-p1363' })
    default:
      return sign(null, bytes, key)
  }
}

/** A token with header and claims to the letter: a text is taken as JSON that is written already. */
export function mint(key: SigningKey, claims: object | string, header: object | string = {}): string {
  const head =
    typeof header === 'string' ? header : JSON.stringify({ alg: key.algorithm, typ: 'at+jwt', kid: key.kid, ...header })
  const body = typeof claims === 'string' ? claims : JSON.stringify(claims)
  const input = `${Buffer.from(head).toString('base64url')}.${Buffer.from(body).toString('base64url')}`
  return `${input}.${signatureOf(key.algorithm, key.privateKey, input).toString('base64url')}`
}

/** Claims that a strict profile accepts at `startOfTest`. */
export function goodClaims(changes: object = {}) {
  return {
    iss: 'https://issuer.test',
    aud: 'gateway',
    sub: 'user-1',
    iat: startOfTest - 10,
    exp: startOfTest + 600,
    jti: 'token-1',
    client_id: 'client-1',
    scope: 'read write',
    roles: ['editor'],
    ...changes,
  }
}

export function testProfile(changes: Partial<TokenProfile> = {}): TokenProfile {
  return {
    name: 'test',
    issuer: 'https://issuer.test',
    audiences: ['gateway'],
    algorithms: ['RS256', 'ES256', 'EdDSA'],
    types: ['at+jwt'],
    headerParameters: [],
    idTokens: false,
    clockTolerance: 60,
    maxLifetime: 86_400,
    requiredClaims: ['sub', 'iat'],
    claims: defaultClaimMap,
    ...changes,
  }
}

/** A key source whose keys a test replaces. */
export function keySource(initial: readonly object[]) {
  let current = initial
  const listeners = new Set<() => void>()
  return {
    keys: () => current,
    onChange(listener: () => void) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    replace(next: readonly object[]) {
      current = next
      for (const listener of listeners) listener()
    },
  }
}

export function keySetOf(keys: readonly SigningKey[]): KeySet {
  const names = [...new Set(keys.map(({ algorithm }) => algorithm as PublicAlgorithm))]
  return localKeySet(keySource(keys.map(({ jwk }) => jwk)), names, silent)
}

export function testIssuer(keys: KeySet, changes: Partial<TokenProfile> = {}): JwtIssuer {
  const profile = testProfile(changes)
  return { kind: 'jwt', name: profile.name, profile, keys }
}

/** The head of a request with these header lines. */
export function headWith(...lines: readonly (readonly [string, string])[]): RequestHead {
  return {
    id: 'request-1',
    method: 'GET',
    target: '/',
    path: '/',
    query: '',
    fields: createFields(lines.flat()),
    client: { address: '127.0.0.1', protocol: 'http', host: 'gateway.test', peer: '127.0.0.1', viaTrustedProxy: false },
  }
}

export const bearing = (token: string) => headWith(['Authorization', `Bearer ${token}`])

export interface TestServer {
  readonly url: string
  readonly hits: string[]
  /** Replaceable while it runs. */
  answer: RequestListener
  close(): Promise<void>
}

/** An HTTP server on a free loopback port that notes every request target. */
export async function serve(answer: RequestListener): Promise<TestServer> {
  const hits: string[] = []
  const server: Server = createServer((request, response) => {
    hits.push(request.url ?? '')
    running.answer(request, response)
  })
  const running: TestServer = {
    url: '',
    hits,
    answer,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return Object.assign(running, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
}

/** Answers every request with one JSON document. */
export function json(document: unknown): RequestListener {
  return (_request, response) => {
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify(document))
  }
}
