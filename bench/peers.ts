import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../test/free-port.ts'
import { type Place, writeNginx } from './backend.ts'
import { Subject } from './subject.ts'

/** What a peer is started with. */
export interface PeerPlace extends Place {
  readonly cores: string
  /** Where its service stands: `http://127.0.0.1:4001`. */
  readonly target: string
  /** File of the key that tokens are signed with. */
  readonly publicKey: string
  /** More words for Node, where the peer is written for it. */
  readonly node?: readonly string[]
}

export interface Peer {
  readonly title: string
  start(place: PeerPlace): Promise<Subject>
}

/** As the gateway sets it for itself: else it is chance whether a process costs a third more (docs/decisions/0023). */
export const peerFlags = ['--no-allocation-site-pretenuring'] as const

/** Whom the gateway is measured beside, by the names of the tables. */
export const peers = {
  'best-bare': inNode('node:http + undici, the best we can write', 'best-bare'),
  bare: inNode('node:http + undici, written plainly', 'bare'),
  'fast-gateway': inNode('fast-gateway', 'fast-gateway'),
  fastify: inNode('Fastify + @fastify/http-proxy', 'fastify'),
  'http-proxy-3': inNode('http-proxy-3', 'http-proxy-3'),
  'koa-proxies': inNode('Koa + koa-proxies', 'koa-proxies'),
  platformatic: inNode('Platformatic Gateway', 'platformatic'),
  express: inNode('Express + http-proxy-middleware', 'express'),
  'fastify-full': inNode('Fastify + jwt, rate limit, log, proxy', 'fastify-full', ({ folder, publicKey }) => [
    publicKey,
    join(folder, 'fastify-full.access.log'),
  ]),
  'fan-out': inNode('node:http + undici.request, .json()', 'fan-out'),
  nginx: { title: 'nginx', start: (place) => startNginx('nginx', place, '', '') },
  'nginx-full': {
    title: 'nginx + log, limit, header fields',
    start: (place) =>
      startNginx(
        'nginx-full',
        place,
        `log_format facts escape=json '{"time":"$time_iso8601","id":"$request_id","client":"$remote_addr","method":"$request_method","path":"$uri","status":$status,"seconds":$request_time,"upstream":"$upstream_response_time"}';
         limit_req_zone $binary_remote_addr zone=all:10m rate=1000000r/s;`,
        `access_log ${place.folder}/nginx-full.access.log facts buffer=64k flush=1s;
         limit_req zone=all burst=100000 nodelay;
         proxy_set_header X-Request-ID $request_id;
         proxy_set_header X-Forwarded-For $remote_addr;
         proxy_set_header X-Forwarded-Host $host;
         proxy_set_header X-Forwarded-Proto $scheme;
         proxy_set_header Forwarded "for=$remote_addr;proto=$scheme;host=$host";
         proxy_set_header User-ID "user-4711";
         proxy_set_header User-Roles "admin,editor";
         add_header X-Request-ID $request_id;`,
      ),
  },
  haproxy: {
    title: 'HAProxy',
    async start({ folder, programs, cores, target }) {
      const port = await freePort()
      const file = join(folder, 'haproxy.cfg')
      writeFileSync(
        file,
        `global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  http-reuse always
frontend in
  bind 127.0.0.1:${port}
  default_backend out
backend out
  option forwardfor
  server one ${new URL(target).host}
`,
      )
      const output = join(folder, 'haproxy.log')
      return Subject.launch({ name: 'haproxy', command: programs.haproxy!, words: ['-f', file], cores, output, port })
    },
  },
  caddy: {
    title: 'Caddy',
    async start({ folder, programs, cores, target }) {
      const port = await freePort()
      const file = join(folder, 'Caddyfile')
      writeFileSync(
        file,
        `{
  admin off
  auto_https off
}
http://127.0.0.1:${port} {
  reverse_proxy ${new URL(target).host}
}
`,
      )
      const words = ['run', '--config', file, '--adapter', 'caddyfile']
      const environment = { GOMAXPROCS: '1', HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder }
      const output = join(folder, 'caddy.log')
      return Subject.launch({ name: 'caddy', command: programs.caddy!, words, cores, environment, output, port })
    },
  },
} satisfies Record<string, Peer>

export type PeerName = keyof typeof peers

/** The program that a peer needs besides Node and `bench/package.json`. */
export function programOf(name: PeerName): 'nginx' | 'haproxy' | 'caddy' | undefined {
  if (name === 'nginx-full') return 'nginx'
  return name === 'nginx' || name === 'haproxy' || name === 'caddy' ? name : undefined
}

function inNode(title: string, file: string, more: (place: PeerPlace) => string[] = () => []): Peer {
  return {
    title,
    async start(place) {
      const port = await freePort()
      const program = join(import.meta.dirname, 'peers', `${file}.mjs`)
      const words = [...peerFlags, ...(place.node ?? []), program, String(port), place.target, ...more(place)]
      const output = join(place.folder, `${file}.log`)
      const environment = { NODE_ENV: 'production' }
      return Subject.launch({
        ...{ name: file, command: process.execPath, words, cores: place.cores, environment, output, port },
      })
    },
  }
}

async function startNginx(name: string, { folder, programs, cores, target }: PeerPlace, http: string, more: string) {
  const port = await freePort()
  const words = writeNginx(
    folder,
    name,
    `upstream service { server ${new URL(target).host}; keepalive 256; keepalive_requests 1000000000; }
    map $http_upgrade $closing { default upgrade; '' ''; }
    ${http}
    server {
      listen 127.0.0.1:${port} backlog=4096;
      proxy_http_version 1.1;
      proxy_set_header Connection $closing;
      proxy_set_header Upgrade $http_upgrade;
      ${more}
      location / { proxy_pass http://service; }
      location = /big { proxy_pass http://service; proxy_buffering off; }
      location = /take { proxy_pass http://service; proxy_request_buffering off; }
    }`,
  )
  const output = join(folder, `${name}.log`)
  return Subject.launch({ name, command: programs.nginx!, words, cores, output, port })
}
