import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startBackend } from '../backend.ts'
import { startProcess } from '../processes.ts'

/** What no buffer on the way holds, however large its machine is. */
const size = 384 * 1_048_576
/**
 * What may come on top while they pass: buffers of sockets, and garbage that is still to be collected, some 140 MB
 * however large the bodies are (docs/decisions/0022).
 */
const allowance = 224 * 1_048_576

const piece = Buffer.alloc(262_144, 'x')

/** So many bytes, made as they are asked for. */
function content(): Readable {
  let left = size
  return new Readable({
    read() {
      const next = Math.min(left, piece.length)
      left -= next
      this.push(next === 0 ? null : piece.subarray(0, next))
    },
  })
}

/** Reads all of it, and pauses now and then, as who is slower than its sender does. */
async function drain(stream: IncomingMessage): Promise<number> {
  let bytes = 0
  let next = size / 8
  for await (const chunk of stream) {
    bytes += (chunk as Buffer).length
    if (bytes < next) continue
    next += size / 8
    await sleep(50)
  }
  return bytes
}

/** Bytes resident at most since the last call. */
function peakOf(pid: number): number {
  const peak = Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1_024
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
  return peak
}

test('bodies of any size pass at flat memory, up and down, with a length and in chunks', {
  skip: process.platform !== 'linux' && 'resident memory is read from /proc',
  timeout: 240_000,
}, async () => {
  await using backend = await startBackend(async (req, res) => {
    const bytes = await drain(req)
    if (req.method === 'POST') res.end(String(bytes))
    else {
      if (req.url === '/length') res.setHeader('Content-Length', size)
      await pipeline(content(), res)
    }
  })
  await using gateway = await startProcess({
    store: { type: 'memory' },
    services: [
      { name: 'files', path: '/files', targets: [backend.url], openapi: false, security: [], limits: { body: '1gb' } },
    ],
  })
  const ask = async (method: 'GET' | 'POST', path: string): Promise<number> => {
    const headers = method === 'POST' && path === 'length' ? { 'Content-Length': size } : {}
    const req = request(`${gateway.url}/files/${path}`, { method, headers })
    const answered = once(req, 'response') as Promise<[IncomingMessage]>
    if (method === 'POST') await pipeline(content(), req)
    else req.end()
    const [res] = await answered
    assert.equal(res.statusCode, 200)
    if (method === 'GET') return drain(res)
    res.setEncoding('latin1')
    let text = ''
    for await (const chunk of res) text += chunk
    return Number(text)
  }
  const before = peakOf(gateway.pid)
  for (const path of ['length', 'chunks']) {
    for (const method of ['POST', 'GET'] as const) {
      assert.equal(await ask(method, path), size, `${method} ${path}`)
      const peak = peakOf(gateway.pid)
      assert.ok(peak - before < allowance, `${method} ${path}: ${Math.round((peak - before) / 1_048_576)} MB more`)
    }
  }
})
