import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { WebSocketServer } from 'ws'
import { freePort } from '../test/free-port.ts'
import { Subject } from './subject.ts'

export const bigFile = 20 * 1_048_576

/** A kilobyte of JSON. */
export const smallAnswer = JSON.stringify({ id: 'order-1', items: 'x'.repeat(1_024 - 27) })

/** An OpenAPI document of a service as the gateway finds it. */
const document = JSON.stringify({
  openapi: '3.1.0',
  info: { title: 'Bench', version: '1.0.0' },
  paths: Object.fromEntries(
    Array.from({ length: 20 }, (_, index) => [
      `/things${index}/{id}`,
      {
        get: {
          parameters: [{ name: 'id', in: 'path', required: true, schema: { type: 'string' } }],
          responses: { 200: { description: 'One thing' } },
        },
      },
    ]),
  ),
})

export interface Place {
  /** Of everything that is written down for the benchmark. */
  readonly folder: string
  readonly programs: Readonly<Record<'nginx' | 'haproxy' | 'caddy' | 'wrk', string | undefined>>
}

/** What stands behind every gateway: nginx for what is asked for, Node for what is sent. */
export async function startBackend({ folder, programs }: Place, cores: string, keySet: object): Promise<Subject> {
  const port = await freePort()
  writeFileSync(join(folder, 'big'), Buffer.alloc(bigFile, 'x'))
  writeFileSync(join(folder, 'keys.json'), JSON.stringify(keySet))
  writeFileSync(join(folder, 'openapi.json'), document)
  const words = writeNginx(
    folder,
    'backend',
    `server {
      listen 127.0.0.1:${port} backlog=4096;
      root ${folder};
      default_type application/json;
      location / { return 200 '${smallAnswer}'; }
      location = /big { default_type application/octet-stream; sendfile on; output_buffers 2 256k; }
      location = /keys.json { }
      location = /openapi.json { }
    }`,
  )
  return Subject.launch({
    name: 'backend',
    command: programs.nginx!,
    words,
    cores,
    output: join(folder, 'backend.log'),
    port,
  })
}

/** Takes bodies of any size and answers; echoes WebSocket messages. */
export async function startTaker(folder: string, cores: string): Promise<Subject> {
  const port = await freePort()
  const words = [import.meta.filename, String(port)]
  return Subject.launch({
    name: 'taker',
    command: process.execPath,
    words,
    cores,
    output: join(folder, 'taker.log'),
    port,
  })
}

/** Writes a configuration and returns the words that start nginx with it. */
export function writeNginx(folder: string, name: string, http: string): string[] {
  const file = join(folder, `${name}.conf`)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  writeFileSync(
    file,
    `daemon off; worker_processes 1; pid ${folder}/${name}.pid; error_log ${folder}/${name}.error.log;
    ${process.getuid?.() === 0 ? 'user root;' : ''}
    events { worker_connections 8192; }
    http {
      access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; client_max_body_size 0; tcp_nodelay on;
      ${temporary.map((what) => `${what}_temp_path ${folder}/${name}.${what};`).join(' ')}
      ${http}
    }`,
  )
  return ['-c', file, '-e', `${folder}/${name}.error.log`]
}

if (import.meta.main) {
  const server = createServer((req, res) => {
    let received = 0
    req.on('data', (chunk: Buffer) => {
      received += chunk.length
    })
    req.on('end', () => res.writeHead(200, { 'Content-Type': 'text/plain' }).end(String(received)))
  })
  server.keepAliveTimeout = 3_600_000
  const sockets = new WebSocketServer({ server, perMessageDeflate: false })
  sockets.on('connection', (socket) => socket.on('message', (data, binary) => socket.send(data, { binary })))
  server.listen(Number(process.argv[2]), '127.0.0.1')
}
