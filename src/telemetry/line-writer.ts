import { write, writeSync } from 'node:fs'

/** Characters that are written at once when so many wait, and milliseconds that fewer wait at most. */
const batch = 65_536
const longestWait = 100
/** Milliseconds until what could not be written is tried again. */
const patience = 100

export interface LineWriterOptions {
  /** File descriptor; a pipe that is full must say so (EAGAIN) instead of waiting. */
  readonly descriptor: number
  /** Characters that may wait; lines on top of that are dropped, so that a reader who stops stops nobody. */
  readonly most: number
  /** Called when everything that waited has been written after lines were dropped: how many those were. */
  readonly onRecovered: (lines: number) => void
}

/**
 * Lines on their way to a file or a pipe, written in batches off the request's path. A disk that is full and a pipe
 * that nobody reads are tried again until they take what waits (docs/decisions/0020).
 */
export class LineWriter {
  readonly #options: LineWriterOptions
  #waiting = ''
  /** What is being written, and what could not be written yet. */
  #rest: Buffer | undefined
  /** `late`: what could not be written is tried again soon. */
  #state: 'idle' | 'writing' | 'late' = 'idle'
  #timer: NodeJS.Timeout | undefined
  #flushed: (() => void)[] = []
  #told = 0
  /** Lines that were dropped so far. */
  lost = 0

  constructor(options: LineWriterOptions) {
    this.#options = options
  }

  write(line: string): void {
    if (this.#waiting.length + (this.#rest?.length ?? 0) + line.length > this.#options.most) {
      this.lost += 1
      return
    }
    this.#waiting += line
    if (this.#state !== 'idle') return
    if (this.#waiting.length >= batch) this.#begin()
    else this.#timer ??= setTimeout(() => this.#begin(), longestWait).unref()
  }

  /** Resolves when all of it is written, or could not be for now. */
  flush(): Promise<void> {
    if (this.#waiting === '' && !this.#rest) return Promise.resolve()
    return new Promise((resolve) => {
      this.#flushed.push(resolve)
      if (this.#state === 'idle') this.#begin()
    })
  }

  /** For the end of the process, when nothing can be awaited: waits `milliseconds` at most for a pipe to be read. */
  flushSync(milliseconds: number): void {
    const end = performance.now() + milliseconds
    // What is under way is written by another thread.
    if (this.#state === 'writing') this.#rest = undefined
    while (this.#take()) {
      try {
        this.#advance(writeSync(this.#options.descriptor, this.#rest!))
      } catch (error) {
        if (!isFull(error) || performance.now() > end) return
        Atomics.wait(pause, 0, 0, 10)
      }
    }
  }

  #begin(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (!this.#take()) return
    this.#state = 'writing'
    write(this.#options.descriptor, this.#rest!, this.#written)
  }

  readonly #written = (error: NodeJS.ErrnoException | null, count: number): void => {
    if (error) {
      this.#state = 'late'
      this.#settle()
      this.#timer = setTimeout(() => this.#begin(), patience).unref()
      return
    }
    this.#advance(count)
    this.#state = 'idle'
    const left = this.#rest !== undefined || this.#waiting !== ''
    if (this.#rest || this.#waiting.length >= batch || (left && this.#flushed.length > 0)) this.#begin()
    else if (left) this.#timer ??= setTimeout(() => this.#begin(), longestWait).unref()
    else {
      this.#settle()
      this.#recovered()
    }
  }

  /** Whether there is something to write, now in `#rest`. */
  #take(): boolean {
    if (!this.#rest && this.#waiting !== '') {
      this.#rest = Buffer.from(this.#waiting)
      this.#waiting = ''
    }
    return this.#rest !== undefined
  }

  #advance(count: number): void {
    this.#rest = count < this.#rest!.length ? this.#rest!.subarray(count) : undefined
  }

  #settle(): void {
    for (const resolve of this.#flushed.splice(0)) resolve()
  }

  #recovered(): void {
    if (this.lost === this.#told) return
    const lines = this.lost - this.#told
    this.#told = this.lost
    this.#options.onRecovered(lines)
  }
}

const pause = new Int32Array(new SharedArrayBuffer(4))

function isFull(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException
  return code === 'EAGAIN' || code === 'EBUSY'
}
