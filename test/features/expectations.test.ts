import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { describe, test } from 'node:test'
import { startBackend } from '../backend.ts'
import { sendRaw } from '../raw.ts'
import { eventually, type GatewayUnderTest, startGateway } from '../sallyport.ts'

const form = 'grant_type=password'
const head = 'POST /token HTTP/1.1\r\nHost: gw.test\r\nContent-Type: application/x-www-form-urlencoded\r\n'

function open(url: string): Promise<GatewayUnderTest> {
  return startGateway({
    services: [{ name: 'echo', path: '/echo', targets: [url], openapi: false, security: [] }],
  })
}

describe('a client that waits for 100 Continue', () => {
  test('is told to go on by the token endpoint', async () => {
    await using backend = await startBackend()
    await using gateway = await open(backend.url)
    // The first who asks has the issuer loaded, which holds up this process, and the client is in it.
    await (await fetch(`${gateway.url}/oauth2/jwks`)).arrayBuffer()
    const { text } = await sendRaw(
      gateway.url,
      `${head}Expect: 100-continue\r\nContent-Length: ${form.length}\r\n\r\n`,
      500,
    )
    assert.equal(text, 'HTTP/1.1 100 Continue\r\n\r\n')
  })

  test('does not exist in HTTP/1.0, where 100 would be taken for the answer', async () => {
    await using backend = await startBackend()
    await using gateway = await open(backend.url)
    const { status } = await sendRaw(
      gateway.url,
      'POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello',
    )
    assert.equal(status, 200)
    assert.equal(backend.received[0]!.body, 'hello')
  })
})

test('a client that leaves in the middle of its form is no failure of the gateway', async () => {
  await using backend = await startBackend()
  await using gateway = await open(backend.url)
  const socket = connect(Number(new URL(gateway.url).port), '127.0.0.1')
  socket.on('error', () => {})
  socket.write(`${head}Content-Length: 500\r\n\r\ngrant`)
  await new Promise((resolve) => setTimeout(resolve, 100))
  socket.resetAndDestroy()
  await eventually('the request has ended', () => gateway.log.find(({ message }) => message === 'request'))
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.deepEqual(
    gateway.log.filter(({ level }) => level === 'error'),
    [],
  )
})
