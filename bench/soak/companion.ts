import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'

/** A program of this folder, in a process and on cores of its own. It is asked by a line of JSON and answers by one. */
export class Companion {
  readonly #child: ChildProcess
  readonly #lines: Interface
  readonly #gone: Promise<unknown>
  readonly #name: string
  readonly #output: string

  constructor(program: 'origin' | 'client' | 'attackers', cores: string, output: string) {
    this.#name = program
    this.#output = output
    const file = openSync(output, 'a')
    const words = ['-c', cores, process.execPath, join(import.meta.dirname, `${program}.ts`)]
    this.#child = spawn('taskset', words, { stdio: ['pipe', 'pipe', file] })
    this.#child.stdin!.on('error', () => {}) // it has been killed; who asks next is told
    this.#gone = once(this.#child, 'exit')
    this.#lines = createInterface(this.#child.stdout!)
  }

  /** One question at a time. */
  async ask<Answer>(action: string, options: object = {}): Promise<Answer> {
    const answer = once(this.#lines, 'line')
    this.#child.stdin!.write(`${JSON.stringify({ action, ...options })}\n`)
    const ended = this.#gone.then(() => {
      throw new Error(`the ${this.#name} ended: ${readFileSync(this.#output, 'utf8').trim().slice(-600)}`)
    })
    const [line] = (await Promise.race([answer, ended])) as [string]
    return JSON.parse(line) as Answer
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#gone
  }
}

/** The other side: every line that comes in is answered by what its action returns. */
export async function answerQuestions(actions: Readonly<Record<string, (options: never) => unknown>>): Promise<void> {
  for await (const line of createInterface(process.stdin)) {
    const { action, ...options } = JSON.parse(line) as { action: string }
    const answer = await actions[action]!(options as never)
    process.stdout.write(`${JSON.stringify(answer ?? {})}\n`)
  }
  process.exit()
}
