import { Problem } from '../http/problem.ts'
import type { Representation } from '../openapi/bytes.ts'

/** The document of this name, printed when nobody has asked for it yet or it has been forgotten. */
export type Printed = (
  name: string,
  print: () => Promise<Representation | undefined>,
) => Promise<Representation | undefined>

/** Bytes that the documents of one publication may take, all codings together. */
const largest = 64 * 1_048_576
/** And how many there may be, since each has a name as well. */
const most = 500

/** Keeps what was printed, and lets go of what was asked for longest ago. Who asks while one is printed gets the same. */
export function createPrinted({ bytes = largest, count = most } = {}): Printed {
  // A Map remembers the order in which keys came.
  const kept = new Map<string, { readonly document: Promise<Representation | undefined>; size: number }>()
  let total = 0

  function forget(name: string): void {
    total -= kept.get(name)?.size ?? 0
    kept.delete(name)
  }

  return function printed(name, print) {
    const known = kept.get(name)
    if (known) {
      kept.delete(name)
      kept.set(name, known)
      return known.document
    }
    const document = print().catch((cause) => {
      if (kept.get(name) === entry) forget(name)
      throw new Problem('overloaded', 'The document cannot be printed right now', {
        cause,
        fields: { 'Retry-After': '5' },
      })
    })
    const entry = { document, size: 0 }
    kept.set(name, entry)
    void document.then(
      (made) => {
        if (kept.get(name) !== entry) return
        entry.size = made ? made.body.length + made.gzip.length + made.brotli.length : 0
        total += entry.size
        for (const oldest of kept.keys()) {
          if (total <= bytes && kept.size <= count) break
          forget(oldest)
        }
      },
      () => {},
    )
    return document
  }
}
