/**
 * Requests at a rate, whatever comes back: `node open-loop.ts <url> <a second> <seconds> <connections> <headers>`.
 *
 * Latency counts from when a request should have been sent, so a gateway that pauses pays for everybody who had to wait
 * (closed loops forgive that). The schedule has a step each millisecond. Prints one line of JSON, in microseconds.
 */
import { RawConnection, rawGet } from './connection.ts'

const [address = '', perSecond = '', forSeconds = '', connections = '', headers = '{}'] = process.argv.slice(2)
const url = new URL(address)
const request = rawGet(url, JSON.parse(headers))
const total = Math.round(Number(perSecond) * Number(forSeconds))
const perStep = Number(perSecond) / 1_000
const latencies = new Float64Array(total)

const idle: (() => void)[] = []
const due: number[] = []
let planned = 0
let answered = 0
let started = 0
const done = Promise.withResolvers<void>()

for (let i = 0; i < Number(connections); i += 1) {
  let since = 0
  const connection = await RawConnection.open(
    Number(url.port),
    () => {
      latencies[answered] = performance.now() - since
      answered += 1
      if (answered === total) done.resolve()
      const waiting = due.shift()
      if (waiting === undefined) idle.push(go)
      else {
        since = waiting
        connection.send(request)
      }
    },
    done.reject,
  )
  const go = () => {
    since = due.shift()!
    connection.send(request)
  }
  idle.push(go)
}

started = performance.now()
const step = () => {
  const now = performance.now()
  const until = Math.min(total, Math.floor((now - started) * perStep))
  for (; planned < until; planned += 1) {
    // Steps of the schedule are whole milliseconds: what is due in one is due at its end.
    due.push(Math.min(now, started + Math.ceil(planned / perStep)))
    idle.pop()?.()
  }
  if (planned < total) setTimeout(step, 1)
}
step()
await done.promise
latencies.sort()
const at = (share: number) => Math.round(latencies[Math.min(total - 1, Math.floor(total * share))]! * 1_000)
console.log(JSON.stringify({ requests: total, p50: at(0.5), p99: at(0.99), longest: at(1) }))
process.exit()
