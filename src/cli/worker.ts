import cluster from 'node:cluster'
import type { Peers, Topic, Topics } from '../admin/peers.ts'
import { isForOperator } from './refusals.ts'
import { type RunningGateway, start } from './start.ts'
import { type FromWorker, longestAnswer, type ToWorker } from './worker-messages.ts'

/** What a worker process runs; `workers.ts` starts it with the path of services.json, how many there are, and which it is. */

const [config, count, number] = process.argv.slice(2) as [string, string, string]
const worker = cluster.worker!
const tell = (message: FromWorker) => {
  if (worker.isConnected()) worker.send(message as never)
}

const replies = new Map<string, (about: string) => unknown>()
const asked = new Map<number, (values: readonly unknown[]) => void>()
let questions = 0

const peers: Peers = {
  count: Number(count) - 1,
  number: Number(number),
  ask<T extends Topic>(topic: T, about = '') {
    questions += 1
    const id = questions
    return new Promise<readonly Topics[T][]>((resolve) => {
      const done = (values: readonly unknown[]) => {
        clearTimeout(timer)
        asked.delete(id)
        resolve(values as readonly Topics[T][])
      }
      const timer = setTimeout(done, longestAnswer + 200, [])
      asked.set(id, done)
      const own = topic === 'metrics' ? replies.get(topic)?.('') : undefined
      void Promise.resolve(own).then((counts) => tell({ say: 'ask', id, topic, about, own: counts }))
    })
  },
  answer: (topic, reply) => void replies.set(topic, reply),
}

let running: RunningGateway | undefined
let ending = false

async function end(notice: boolean): Promise<void> {
  if (ending) return
  ending = true
  if (notice) await running?.retire()
  else await running?.close()
  process.exit(0)
}

process.on('message', async (message: ToWorker) => {
  switch (message.say) {
    case 'stop':
      return end(message.notice)
    case 'answers':
      return asked.get(message.id)?.(message.values)
    case 'ask':
      return tell({ say: 'answer', id: message.id, value: await replies.get(message.topic)?.(message.about) })
  }
})
// Ctrl-C reaches every process of the terminal; the one that watches decides.
process.on('SIGINT', () => {})
process.on('SIGTERM', () => end(true))
// Who watches is gone, and with it the ports.
process.on('disconnect', () => end(false))

try {
  running = await start({ config, environment: process.env, peers })
  const { publicUrl, adminUrl, patience } = running
  tell({ say: 'serving', place: { publicUrl, adminUrl, patience } })
} catch (error) {
  if (!isForOperator(error)) throw error
  worker.send({ say: 'refused', message: error.message } satisfies FromWorker, () => process.exit(1))
}
