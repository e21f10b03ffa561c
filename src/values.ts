import { z } from 'zod'

/** The values that settings are made of, each with the message an operator needs. */

const durationUnits = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const durationForm = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h|d)$/
const longestTimer = 2_147_483_647

/** Milliseconds of a duration such as `"250ms"`, `"5s"`, `"1m"`, `"12h"`, `"30d"`; undefined when it is none. */
export function parseDuration(text: string): number | undefined {
  const match = durationForm.exec(text)
  if (!match) return undefined
  return Math.round(Number(match[1]) * durationUnits[match[2] as keyof typeof durationUnits])
}

/** A length of time above zero, in milliseconds once read. At most `longest` milliseconds; a timer cannot hold more than 24 days. */
export function duration(longest: number = longestTimer) {
  return z
    .string('a duration is a string such as "250ms", "5s", "1m", "12h" or "30d"')
    .regex(durationForm, 'a duration is a number and a unit: "250ms", "5s", "1m", "12h" or "30d"')
    .transform((text, context) => {
      const milliseconds = parseDuration(text)!
      if (milliseconds > 0 && milliseconds <= longest) return milliseconds
      context.addIssue({ code: 'custom', message: `a duration is above zero and at most ${longest} ms here` })
      return z.NEVER
    })
}

const sizeUnits = { b: 1, kb: 1_024, mb: 1_048_576, gb: 1_073_741_824 } as const
const sizeForm = /^(\d{1,9})(b|kb|mb|gb)$/

/** A number of bytes: `"512b"`, `"64kb"`, `"10mb"`, `"1gb"` (powers of 1,024), in bytes once read. */
export function size() {
  return z
    .string('a size is a string such as "64kb" or "10mb"')
    .regex(sizeForm, 'a size is a whole number and a unit: "512b", "64kb", "10mb" or "1gb"')
    .transform((text) => {
      const [, number, unit] = sizeForm.exec(text)!
      return Number(number) * sizeUnits[unit as keyof typeof sizeUnits]
    })
}

/** An absolute `http:` or `https:` URL without credentials and without a fragment; kept as it is written. */
export function httpUrl(subject = 'a URL') {
  return z.string(`${subject} is a string such as "http://127.0.0.1:4001"`).superRefine((text, context) => {
    const complain = (message: string) => context.addIssue({ code: 'custom', message: `${subject} ${message}` })
    if (!URL.canParse(text)) return complain('is absolute, such as "http://127.0.0.1:4001"')
    const url = new URL(text)
    if (url.protocol !== 'http:' && url.protocol !== 'https:')
      complain(`starts with http:// or https://, such as "http://localhost:4001", not with ${url.protocol}`)
    if (url.username || url.password) complain('carries no user name and no password; use forward.credentials instead')
    if (url.hash || text.includes('#')) complain('has no fragment (#)')
  })
}

/** A TCP port; a string of digits is accepted because `${PORT:-8080}` yields one. 0 lets the system choose. */
export function port() {
  const range = 'a port is a whole number from 0 to 65535'
  return z.union([
    z.int(range).min(0, range).max(65_535, range),
    z
      .string()
      .regex(/^\d{1,5}$/, range)
      .transform(Number)
      .refine((value) => value <= 65_535, range),
  ])
}

const types: Readonly<Record<string, string>> = {
  array: 'a list [ … ]',
  object: 'an object { … }',
  record: 'an object { … }',
  string: 'a string',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  null: 'null',
}

/** What zod says of a value, in our words. It leaves the value out: whether one was there is known by its own text alone. */
export function plainly(issue: z.core.$ZodIssue): string {
  const { code, message } = issue
  if (code === 'unrecognized_keys') {
    const names = issue.keys.map((key) => `"${key}"`)
    return names.length === 1 ? `${names[0]} is not a key here` : `${names.join(', ')} are not keys here`
  }
  const plain = message.replace(/^(?:Invalid input|Too small|Too big): /, '')
  if (code !== 'invalid_type') return plain
  const [, expected, received] = /^expected (\w+), received (\w+)$/.exec(plain) ?? []
  if (!expected || !received) return plain
  if (received === 'undefined') return 'this key is missing'
  return `${types[expected] ?? expected} belongs here, not ${types[received] ?? received}`
}
