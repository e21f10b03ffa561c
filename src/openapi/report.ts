import type { Finding } from './document.ts'

/** Collects what a person should know about one service's document. */
export interface Report {
  error(code: string, message: string, pointer?: string): void
  warning(code: string, message: string, pointer?: string): void
  info(code: string, message: string, pointer?: string): void
  readonly findings: readonly Finding[]
}

/** A document can be wrong in the same way a thousand times; the first few places and the number are enough. */
const perCode = 10

/** `pointers` are JSON pointers into the backend's own document. */
export function createReport(service: string): Report {
  const kept: Finding[] = []
  const counts = new Map<string, number>()
  const add = (severity: Finding['severity']) => (code: string, message: string, pointer?: string) => {
    const count = (counts.get(code) ?? 0) + 1
    counts.set(code, count)
    if (count > perCode) return
    const place = pointer === undefined ? {} : { pointer: inOneLine(pointer) }
    kept.push({ service, severity, code, message: inOneLine(message), ...place })
  }
  return {
    error: add('error'),
    warning: add('warning'),
    info: add('info'),
    get findings() {
      const more: Finding[] = []
      for (const [code, count] of counts) {
        if (count <= perCode) continue
        const message = `the same in ${count - perCode} more places`
        more.push({ service, severity: 'info', code, message })
      }
      return [...kept, ...more]
    },
  }
}

/** Messages and pointers quote what backends wrote: no line breaks, no control characters, no novels. */
function inOneLine(message: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not get through
  const line = message.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, ' ')
  return line.length > 500 ? `${line.slice(0, 499)}…` : line
}

export interface FindingCounts {
  readonly errors: number
  readonly warnings: number
}

export function countsOf(findings: readonly Finding[]): FindingCounts {
  const count = (severity: Finding['severity']) => findings.filter((finding) => finding.severity === severity).length
  return { errors: count('error'), warnings: count('warning') }
}
