import type { Fields } from './request-head.ts'

/** Header fields (RFC 9110 §5): reading those of a request, writing values that nobody can misread. */

/** The header fields of a request over the list that Node keeps (`req.rawHeaders`). */
export function createFields(raw: readonly string[]): Fields {
  return new RawFields(raw)
}

const none: readonly string[] = Object.freeze([])

/** No index: requests have a dozen fields and few of them are asked for, so comparing lengths is cheaper than building one. */
class RawFields implements Fields {
  readonly raw: readonly string[]

  constructor(raw: readonly string[]) {
    this.raw = raw
  }

  get(name: string): string | undefined {
    return lineOf(this.raw, name)
  }

  all(name: string): readonly string[] {
    const { raw } = this
    let values: string[] | undefined
    for (let i = 0; i < raw.length; i += 2) {
      if (isName(raw[i]!, name)) {
        if (values) values.push(raw[i + 1]!)
        else values = [raw[i + 1]!]
      }
    }
    return values ?? none
  }
}

/** Whether a field name as received is `lower`, which is in lower case (RFC 9110 §5.1). Makes no new string. */
export function isName(received: string, lower: string): boolean {
  if (received.length !== lower.length) return false
  for (let i = 0; i < lower.length; i++) {
    const want = lower.charCodeAt(i)
    const have = received.charCodeAt(i)
    if (have !== want && (want < 0x61 || want > 0x7a || have !== want - 0x20)) return false
  }
  return true
}

/** Flat header lines: name, value, name, value. */
export type Lines = readonly string[]

/** The value of a field; several lines are one list (RFC 9110 §5.3). `name` in lower case. */
export function lineOf(lines: Lines, name: string): string | undefined {
  let value: string | undefined
  for (let i = 0; i < lines.length; i += 2) {
    if (isName(lines[i]!, name)) value = value === undefined ? lines[i + 1]! : `${value}, ${lines[i + 1]!}`
  }
  return value
}

/** Longest value and longest list that are written, in bytes: backends commonly stop reading heads at 8 KiB. */
const longestValue = 1_024
const longestList = 4_096

/**
 * Text of any origin as the value of one field: what is not visible ASCII is percent-encoded as UTF-8 (RFC 3986 §2.1), and so is
 * `%` itself, so decoding gives the text back. Undefined when there is nothing to write or more than 1,024 bytes:
 * a shortened name would be another name.
 */
export function fieldValue(text: string): string | undefined {
  const value = visible(text)
  return value === '' || value.length > longestValue ? undefined : value
}

/**
 * Texts as a comma-separated list (RFC 9110 §5.6.1). A comma within an element is encoded, so no element becomes two.
 * A list of more than 4,096 bytes ends after the last element that fits: who loses rights on the way loses no more than that.
 * Undefined when there is nothing to write.
 */
export function fieldList(elements: readonly string[]): string | undefined {
  let list = ''
  for (const element of elements) {
    const value = visible(element).replaceAll(',', '%2C')
    if (value === '') continue
    if (list.length + 1 + value.length > longestList) break
    list = list === '' ? value : `${list},${value}`
  }
  return list === '' ? undefined : list
}

const alreadyVisible = /^[!-$&-~]*$/

function visible(text: string): string {
  if (alreadyVisible.test(text)) return text
  return text.toWellFormed().replace(/[^!-$&-~]+/gu, (run) =>
    // encodeURIComponent covers all of these: none of the marks it leaves alone is outside visible ASCII.
    encodeURIComponent(run),
  )
}
