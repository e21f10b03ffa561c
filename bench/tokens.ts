import { createHmac, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

export const tokenAlgorithms = ['HS256', 'RS256', 'ES256', 'EdDSA'] as const
export type TokenAlgorithm = (typeof tokenAlgorithms)[number]

export const issuer = 'https://issuer.example'
export const secretIssuer = 'https://secrets.example'
export const audience = 'bench'

/** Somebody who signs tokens as an identity provider would, and whose keys the gateways are told. */
export class Signer {
  readonly secret = 'a secret for nobody but the benchmark, 32 bytes and more'
  readonly #keys: Readonly<Record<Exclude<TokenAlgorithm, 'HS256'>, { publicKey: KeyObject; privateKey: KeyObject }>>
  #count = 0

  constructor() {
    this.#keys = {
      RS256: generateKeyPairSync('rsa', { modulusLength: 2_048 }),
      ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
      EdDSA: generateKeyPairSync('ed25519'),
    }
  }

  /** The key set that an issuer publishes. */
  get keySet(): object {
    const keys = Object.entries(this.#keys).map(([alg, { publicKey }]) => ({
      ...publicKey.export({ format: 'jwk' }),
      ...{ kid: alg, alg, use: 'sig' },
    }))
    return { keys }
  }

  get publicKey(): string {
    return this.#keys.RS256.publicKey.export({ format: 'pem', type: 'spki' }) as string
  }

  token(algorithm: TokenAlgorithm): string {
    const now = Math.floor(Date.now() / 1_000)
    this.#count += 1
    const header = { alg: algorithm, typ: 'JWT', ...(algorithm !== 'HS256' && { kid: algorithm }) }
    const claims = {
      iss: algorithm === 'HS256' ? secretIssuer : issuer,
      ...{ aud: audience, sub: 'user-4711', iat: now, exp: now + 7_200, jti: `token-${this.#count}` },
      ...{ name: 'Ada Okafor', email: 'ada@acme.example', organization: 'acme', scope: 'orders' },
      ...{ roles: ['admin', 'editor'], permissions: ['orders:read', 'orders:write', 'inventory:read'] },
    }
    const text = `${encode(header)}.${encode(claims)}`
    return `${text}.${this.#sign(algorithm, Buffer.from(text)).toString('base64url')}`
  }

  /** A file with so many different tokens, one a line. */
  file(folder: string, algorithm: TokenAlgorithm, count: number): string {
    const path = join(folder, `tokens.${algorithm}`)
    writeFileSync(path, Array.from({ length: count }, () => this.token(algorithm)).join('\n'))
    return path
  }

  /** Microseconds that node:crypto itself takes to verify one RS256 signature; the quicker half's median. */
  timeToVerify(): number {
    const [text, signature] = split(this.token('RS256'))
    const { publicKey } = this.#keys.RS256
    const times = Array.from({ length: 40 }, () => {
      const before = process.cpuUsage()
      for (let i = 0; i < 250; i += 1) verify('sha256', text, publicKey, signature)
      const { user, system } = process.cpuUsage(before)
      return (user + system) / 250
    })
    return times.sort((one, other) => one - other)[10]!
  }

  #sign(algorithm: TokenAlgorithm, text: Buffer): Buffer {
    if (algorithm === 'HS256') return createHmac('sha256', this.secret).update(text).digest()
    const { privateKey } = this.#keys[algorithm]
    if (algorithm === 'ES256') return sign('sha256', text, { key: privateKey, dsaEncoding: 'ieee-p1363' })
    return sign(algorithm === 'RS256' ? 'sha256' : null, text, privateKey)
  }
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function split(token: string): [Buffer, Buffer] {
  const end = token.lastIndexOf('.')
  return [Buffer.from(token.slice(0, end)), Buffer.from(token.slice(end + 1), 'base64url')]
}
