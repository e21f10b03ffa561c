import { createServer } from 'node:http'
import express from 'express'
import Fastify from 'fastify'
import Koa from 'koa'
import { contextContract, type Serve } from '../contracts/context.ts'

async function readJson(request: AsyncIterable<Buffer>): Promise<unknown> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  return chunks.length === 0 ? undefined : JSON.parse(Buffer.concat(chunks).toString())
}
const isJson = (type: string | undefined) => type?.startsWith('application/json') ?? false

const koa: Serve = async (context, answer) => {
  const app = new Koa()
  app.silent = true
  app.use(context.koa())
  app.use(async ({ req, res, request, response, path }) => {
    const body = isJson(request.headers['content-type']) ? await readJson(req) : undefined
    response.body = (await answer({ path, body, request: req, response: res })) ?? {}
  })
  return createServer(app.callback())
}

const express5: Serve = async (context, answer) => {
  const app = express()
  app.set('env', 'test') // Express prints the errors that it answers, except in tests.
  app.use(context.express())
  app.use(express.json({ limit: '1mb' }))
  app.use(async (request, response) => {
    response.json((await answer({ path: request.path, body: request.body, request, response })) ?? {})
  })
  return createServer(app)
}

const fastify: Serve = async (context, answer) => {
  const app = Fastify({ forceCloseConnections: true })
  await app.register(context.fastify)
  // Fastify parses application/json itself and refuses other types unless told that a handler will read them.
  app.addContentTypeParser('application/octet-stream', (_request, _payload, done) => done(null))
  app.all(
    '/*',
    async ({ url, body, raw }, reply) => (await answer({ path: url, body, request: raw, response: reply.raw })) ?? {},
  )
  await app.listen({ port: 0, host: '127.0.0.1' })
  return app.server
}

contextContract('Koa 3', koa)
contextContract('Express 5', express5)
contextContract('Fastify 5', fastify)
