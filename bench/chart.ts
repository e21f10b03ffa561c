import type { Report } from './report.ts'

interface Bar {
  readonly title: string
  readonly micros: number
  readonly own: boolean
}

const names: Readonly<Record<string, string>> = {
  sallyport: 'Sallyport, plain',
  'best-bare': 'node:http + undici, our best without Koa',
  bare: 'node:http + undici, written plainly',
  nginx: 'nginx',
  haproxy: 'HAProxy',
  caddy: 'Caddy',
  fastify: 'Fastify + http-proxy',
  'fast-gateway': 'fast-gateway',
  'http-proxy-3': 'http-proxy-3',
  'koa-proxies': 'koa-proxies',
  platformatic: 'Platformatic Gateway',
  express: 'Express + http-proxy-middleware',
}
const full: Readonly<Record<string, string>> = {
  sallyport: 'Sallyport, everything on',
  'nginx-full': 'nginx + log, limit, header fields',
  'fastify-full': 'Fastify + jwt, limit, log, proxy',
}

/** Processor time for one request as bars, for the README. Readable in light and dark. */
export function chart({ figures, machine, date }: Report): string {
  const bars = figures
    .flatMap(({ case: what, name, cpu }): Bar[] => {
      const title = what === 'plain' ? names[name] : what === 'full' ? full[name] : undefined
      return title === undefined ? [] : [{ title, micros: cpu.median, own: name === 'sallyport' }]
    })
    .sort((one, other) => one.micros - other.micros)
  const left = 290
  const width = 760
  const row = 26
  const top = 58
  const height = top + bars.length * row + 34
  const scale = (width - left - 70) / Math.max(...bars.map(({ micros }) => micros))
  const rows = bars.map(({ title, micros, own }, index) => {
    const y = top + index * row
    const length = Math.max(2, micros * scale)
    return `  <text class="${own ? 'own' : 'text'}" x="${left - 10}" y="${y + 15}" text-anchor="end">${escaped(title)}</text>
  <rect class="${own ? 'ours' : 'theirs'}" x="${left}" y="${y + 3}" width="${length.toFixed(1)}" height="17" rx="2"/>
  <text class="${own ? 'own' : 'text'}" x="${(left + length + 7).toFixed(1)}" y="${y + 16}">${micros.toFixed(0)} µs</text>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-labelledby="title">
  <title id="title">Processor time for one proxied request, by gateway</title>
  <!-- Written by npm run bench. -->
  <style>
    text { font: 13px system-ui, sans-serif }
    .head { font-size: 15px; font-weight: 600; fill: #1f2328 } .text { fill: #424a53 } .own { font-weight: 600; fill: #0a5fb4 }
    .note { font-size: 11px; fill: #6e7781 } .ours { fill: #1f7ae0 } .theirs { fill: #b9c2cc }
    @media (prefers-color-scheme: dark) {
      .head { fill: #e6edf3 } .text { fill: #b1bac4 } .own { fill: #6cb2ff } .note { fill: #8b949e } .theirs { fill: #57606a }
    }
  </style>
  <text class="head" x="12" y="24">Processor time for one request of 1 KB</text>
  <text class="note" x="12" y="42">less is better; all measured in one run, in turns, each alone on a core</text>
${rows.join('\n')}
  <text class="note" x="12" y="${height - 10}">${escaped(`${machine.processor}, ${machine.cores} cores, Node ${machine.versions['node']}, ${date.slice(0, 10)}`)}</text>
</svg>
`
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
}
