/**
 * The signature algorithms the gateway can check (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2.2). `none` is not one.
 *
 * `key` is what the key must be, `bytes` the shortest secret (RFC 7518 §3.2: at least as long as the hash).
 * `engine` names who does the arithmetic: jsonwebtoken, and so koa-jwt, has no EdDSA.
 */
export const algorithms = {
  RS256: { family: 'public', key: 'rsa', engine: 'koa-jwt' },
  RS384: { family: 'public', key: 'rsa', engine: 'koa-jwt' },
  RS512: { family: 'public', key: 'rsa', engine: 'koa-jwt' },
  PS256: { family: 'public', key: 'rsa', engine: 'koa-jwt' },
  PS384: { family: 'public', key: 'rsa', engine: 'koa-jwt' },
  PS512: { family: 'public', key: 'rsa', engine: 'koa-jwt' },
  ES256: { family: 'public', key: 'P-256', engine: 'koa-jwt' },
  ES384: { family: 'public', key: 'P-384', engine: 'koa-jwt' },
  ES512: { family: 'public', key: 'P-521', engine: 'koa-jwt' },
  EdDSA: { family: 'public', key: 'Ed25519', engine: 'jose' },
  Ed25519: { family: 'public', key: 'Ed25519', engine: 'jose' },
  HS256: { family: 'secret', key: 'oct', engine: 'koa-jwt', bytes: 32 },
  HS384: { family: 'secret', key: 'oct', engine: 'koa-jwt', bytes: 48 },
  HS512: { family: 'secret', key: 'oct', engine: 'koa-jwt', bytes: 64 },
} as const satisfies Record<string, AlgorithmDefinition>

interface AlgorithmDefinition {
  readonly family: 'public' | 'secret'
  readonly key: 'rsa' | 'P-256' | 'P-384' | 'P-521' | 'Ed25519' | 'oct'
  readonly engine: 'koa-jwt' | 'jose'
  readonly bytes?: number
}

export type Algorithm = keyof typeof algorithms
export type PublicAlgorithm = {
  [A in Algorithm]: (typeof algorithms)[A]['family'] extends 'public' ? A : never
}[Algorithm]
export type SecretAlgorithm = Exclude<Algorithm, PublicAlgorithm>

const namesOf = (family: 'public' | 'secret') =>
  Object.keys(algorithms).filter((name) => algorithms[name as Algorithm].family === family)

export const publicAlgorithms = namesOf('public') as [PublicAlgorithm, ...PublicAlgorithm[]]
export const secretAlgorithms = namesOf('secret') as [SecretAlgorithm, ...SecretAlgorithm[]]
