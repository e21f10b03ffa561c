import { isUtf8 } from 'node:buffer'

/**
 * JSON (RFC 8259) that everybody reads in the same way: valid UTF-8, no name twice in one object, no number beyond a
 * double, no half of a surrogate pair, no `__proto__`, no deeper than asked for.
 */
export type ParsedJson =
  | { readonly outcome: 'read'; readonly value: unknown }
  | { readonly outcome: 'malformed'; readonly reason: JsonFault }

export type JsonFault = 'utf-8' | 'json' | 'nesting' | 'duplicate-member'

/** `deepest`: how many objects and lists may stand in each other. */
export function parseJson(bytes: Buffer, deepest: number): ParsedJson {
  if (!isUtf8(bytes)) return malformed('utf-8')
  // Buffer keeps a byte order mark, and JSON.parse refuses it.
  const text = bytes.toString('utf8')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return malformed('json')
  }
  const members = countMembers(value, deepest)
  if (typeof members === 'string') return malformed(members)
  // JSON.parse keeps the last of several members with equal names, whatever their spelling. So the value has
  // fewer members than the text has colons exactly when a name stood somewhere twice.
  return members === countColons(text) ? { outcome: 'read', value } : malformed('duplicate-member')
}

function malformed(reason: JsonFault): ParsedJson {
  return { outcome: 'malformed', reason }
}

/** The number of object members in a value, at all levels; or the reason why the value is refused. */
function countMembers(value: unknown, levels: number): number | 'nesting' | 'json' {
  if (typeof value === 'string') return value.isWellFormed() ? 0 : 'json'
  if (typeof value === 'number') return Number.isFinite(value) ? 0 : 'json'
  if (value === null || typeof value !== 'object') return 0
  if (levels === 0) return 'nesting'
  let members = 0
  if (Array.isArray(value)) {
    for (const element of value) {
      const inside = countMembers(element, levels - 1)
      if (typeof inside === 'string') return inside
      members += inside
    }
    return members
  }
  for (const name of Object.keys(value)) {
    if (name === '__proto__' || !name.isWellFormed()) return 'json'
    const inside = countMembers((value as Record<string, unknown>)[name], levels - 1)
    if (typeof inside === 'string') return inside
    members += inside + 1
  }
  return members
}

const quote = 0x22
const backslash = 0x5c
const colon = 0x3a

/** The colons outside strings of a JSON text, one for each member that is written. */
function countColons(json: string): number {
  let colons = 0
  let inString = false
  for (let index = 0; index < json.length; index += 1) {
    const code = json.charCodeAt(index)
    if (inString) {
      if (code === backslash) index += 1
      else if (code === quote) inString = false
    } else if (code === quote) inString = true
    else if (code === colon) colons += 1
  }
  return colons
}
