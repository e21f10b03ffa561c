import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Subject } from '../bench/subject.ts'
import { freePort } from './free-port.ts'
import { programPath } from './requirements.ts'

/** A real proxy in front of a gateway, set to pass on whatever it can read and to share its connections. */
export interface RunningProxy extends AsyncDisposable {
  readonly port: number
  readonly pid: number
}

export type ProxyName = 'nginx' | 'haproxy'

/** The test must be skipped when `skipWithout(name)` says so. */
export async function startProxy(name: ProxyName, gatewayPort: number): Promise<RunningProxy> {
  const folder = await mkdtemp(join(tmpdir(), `sallyport-${name}-`))
  const remove = () => rm(folder, { recursive: true, force: true })
  try {
    const port = await freePort()
    const file = join(folder, 'proxy.conf')
    await writeFile(file, settings[name]({ folder, port, gatewayPort }))
    const words = name === 'nginx' ? ['-c', file, '-e', join(folder, 'error.log')] : ['-db', '-f', file]
    const output = join(folder, 'output.log')
    const subject = await Subject.launch({
      ...{ name, command: programPath(name)!, words, cores: undefined, output, port, probe: '/ready' },
    })
    // What can still be done when a test file ends early, or is ended: a signal alone would pass the exit handlers by.
    const killNow = () => subject.signal('SIGKILL')
    const endNow = () => process.exit(143)
    process.once('exit', killNow)
    process.once('SIGTERM', endNow)
    return {
      port,
      pid: subject.pid,
      async [Symbol.asyncDispose]() {
        process.off('exit', killNow)
        process.off('SIGTERM', endNow)
        await subject.stop()
        await remove()
      },
    }
  } catch (error) {
    await remove()
    throw error
  }
}

interface Place {
  readonly folder: string
  readonly port: number
  readonly gatewayPort: number
}

/** One process each, so that one signal ends it. Whoever sends half a request is let go within a second. */
const settings: Readonly<Record<ProxyName, (place: Place) => string>> = {
  nginx: ({ folder, port, gatewayPort }) => `
daemon off; master_process off; pid ${folder}/nginx.pid; error_log ${folder}/error.log;
events { worker_connections 512; }
http {
  access_log off; client_header_timeout 1s; client_body_timeout 1s; lingering_close off;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((of) => `${of}_temp_path ${folder}/${of};`).join(' ')}
  ignore_invalid_headers off; underscores_in_headers on; merge_slashes off; large_client_header_buffers 8 64k;
  upstream gateway { server 127.0.0.1:${gatewayPort}; keepalive 4; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://gateway;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
  }
}
`,
  haproxy: ({ port, gatewayPort }) => `
global
  nbthread 1
  tune.bufsize 131072
  tune.http.maxhdr 4000
defaults
  mode http
  timeout connect 5s
  timeout client 1s
  timeout http-request 1s
  timeout server 20s
  http-reuse always
  option accept-invalid-http-request
  option forwardfor
frontend in
  bind 127.0.0.1:${port}
  default_backend out
backend out
  server gateway 127.0.0.1:${gatewayPort}
`,
}
