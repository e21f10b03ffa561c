import type { Path } from './text.ts'

const reference = /\$\{([^}]*)\}/g
const name = /^([A-Za-z_][A-Za-z0-9_]*)(?::-([\s\S]*))?$/

/**
 * Put `${NAME}` and `${NAME:-default}` in every string in place. As in a shell, the default also serves where the
 * variable is set but empty. `complain` hears of every variable that is missing; its value is never repeated.
 */
export function expandEnvironment(
  value: unknown,
  environment: Readonly<Record<string, string | undefined>>,
  complain: (path: Path, message: string) => void,
): unknown {
  const expand = (text: string, path: Path) =>
    text.replace(reference, (whole, inside: string) => {
      const match = name.exec(inside)
      if (!match) {
        complain(path, `${whole} is not a reference; write \${NAME} or \${NAME:-default}`)
        return ''
      }
      const found = environment[match[1]!]
      if (match[2] !== undefined) return found || match[2]
      if (found === undefined) {
        complain(path, `the environment variable ${match[1]} is not set; set it, or write \${${match[1]}:-default}`)
        return ''
      }
      return found
    })
  const walk = (item: unknown, path: Path): unknown => {
    if (typeof item === 'string') return item.includes('${') ? expand(item, path) : item
    if (Array.isArray(item)) return item.map((member, index) => walk(member, [...path, index]))
    if (item === null || typeof item !== 'object') return item
    return Object.fromEntries(Object.entries(item).map(([key, member]) => [key, walk(member, [...path, key])]))
  }
  return walk(value, [])
}
