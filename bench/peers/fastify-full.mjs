/**
 * Fastify with a JWT (its cache on), identity fields, a rate limit, an access log and the proxy; a metric would be one
 * plugin more. `node fastify-full.mjs <port> <target> <file of the public key> <file of the log>`
 */
import { readFileSync } from 'node:fs'
import proxy from '@fastify/http-proxy'
import jwt from '@fastify/jwt'
import limit from '@fastify/rate-limit'
import Fastify from 'fastify'

const [port, upstream, key, log] = process.argv.slice(2)
const app = Fastify({ logger: { level: 'info', file: log }, genReqId: () => crypto.randomUUID() })
await app.register(jwt, {
  secret: { public: readFileSync(key, 'utf8') },
  verify: { algorithms: ['RS256'], allowedIss: 'https://issuer.example', allowedAud: 'bench', cache: 10_000 },
})
await app.register(limit, { max: 10_000_000, timeWindow: '1 minute', keyGenerator: (request) => request.user.sub })
await app.register(proxy, {
  upstream,
  undici: { connections: 64 },
  preHandler: undefined,
  replyOptions: {
    rewriteRequestHeaders: (request, headers) => ({
      ...headers,
      'x-request-id': request.id,
      'x-forwarded-for': request.ip,
      'x-forwarded-proto': request.protocol,
      'user-id': request.user.sub,
      'user-email': request.user.email,
      'user-roles': request.user.roles.join(),
    }),
  },
})
app.addHook('onRequest', (request) => request.jwtVerify())
await app.listen({ port: Number(port), host: '127.0.0.1' })
