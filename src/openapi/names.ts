import { createHash } from 'node:crypto'

/**
 * Names in the published document. A service's names begin with its own and an underscore; services' names have no
 * underscore, so the first one always ends it, and `a` + `b_c` cannot meet `a_b` + `c`.
 */

/** A few characters that stand for a text, the same every time and everywhere. */
export function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 6)
}

/** What components may be called: letters, digits, dot, hyphen, underscore (OpenAPI 3.1 §4.8.7). */
export function componentText(name: string): string {
  return name.replace(/[^A-Za-z0-9._-]+/g, '_')
}

/** What operation ids may be made of so that Swagger UI's deep links work: no dots, slashes or spaces. */
export function operationText(id: string): string {
  return id.replace(/[^A-Za-z0-9_-]+/g, '_')
}

/** What tags may be made of so that deep links work; letters of every script are fine. */
export function tagText(name: string): string {
  const text = name.trim().replace(/[^\p{L}\p{N}._~()&,+:-]+/gu, '-')
  return text === '' ? '-' : text
}

/**
 * A cleaned name for each name, all different. A name that needs no cleaning keeps its form; one whose cleaned form
 * is another's gets a suffix made from itself, so that it stays what it is when others come, go or change places.
 */
export function distinct(names: Iterable<string>, clean: (name: string) => string): ReadonlyMap<string, string> {
  const all = [...new Set(names)]
  const taken = new Map<string, number>()
  for (const name of all) {
    const text = clean(name)
    taken.set(text, (taken.get(text) ?? 0) + 1)
  }
  const result = new Map<string, string>()
  for (const name of all) {
    const text = clean(name)
    const alone = taken.get(text) === 1 || text === name
    result.set(name, alone ? text : `${text}-${shortHash(name)}`)
  }
  return result
}
