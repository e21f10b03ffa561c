import { renameVariables } from './arrange.ts'
import type { DigestOperation } from './digest.ts'
import type { Finding, JsonObject } from './document.ts'
import { shapeOf } from './paths.ts'
import { copyPlain, isObject, members, put } from './plain.ts'
import { leaveOut, type Part } from './secure.ts'

/**
 * Services may be mounted so that two document the same request, or one documents what the router sends to another.
 * What the router does is shown: the gateway's own paths come first, then the service with the longer prefix; of two
 * with the same, the first by name. The operation that is not answered is taken out, with an error that names both.
 *
 * `parts` in the order of their names, and so is the result.
 */
export function withoutConflicts(parts: readonly Part[], ownPaths: JsonObject, findings: Finding[]): readonly Part[] {
  const claims = new Map<string, string>()
  const keys = new Map<string, string>()
  for (const [path, item] of members(ownPaths)) {
    keys.set(shapeOf(path), path)
    for (const [method] of members(item)) claims.set(`${method.toUpperCase()} ${shapeOf(path)}`, 'the gateway itself')
  }
  const byPriority = [...parts].sort((one, other) => other.prefix.length - one.prefix.length)
  const lost = new Map<Part, DigestOperation[]>()
  const moved = new Map<Part, Map<string, string>>()
  for (const [rank, part] of byPriority.entries()) {
    const nearer = byPriority.slice(0, rank).filter(({ prefix }) => prefix.length > part.prefix.length)
    for (const operation of part.operations) {
      const { method, published } = operation
      const shape = shapeOf(published)
      const claim = `${method} ${shape}`
      const winner = claims.get(claim) ?? nearer.find(({ prefix }) => isBelow(published, prefix))?.service
      if (winner !== undefined) {
        lost.set(part, [...(lost.get(part) ?? []), operation])
        const advice = 'give one of them another path'
        const message = `${method} ${published} is answered by ${winner} and is not shown for ${part.service}; ${advice}`
        findings.push({ service: part.service, severity: 'error', code: 'path-conflict', message })
        continue
      }
      claims.set(claim, part.service)
      const key = keys.get(shape)
      if (key === undefined) keys.set(shape, published)
      else if (key !== published) moved.set(part, (moved.get(part) ?? new Map<string, string>()).set(published, key))
    }
  }
  return parts.map((part) => {
    const remaining = lost.has(part) ? leaveOut(part, lost.get(part)!) : part
    return moved.has(part) ? movePaths(remaining, moved.get(part)!) : remaining
  })
}

const isBelow = (path: string, prefix: string): boolean => path === prefix || path.startsWith(`${prefix}/`)

/** Another service has the same path with other variable names: theirs are taken over. */
function movePaths(part: Part, moved: ReadonlyMap<string, string>): Part {
  const paths: JsonObject = {}
  for (const [path, item] of members(part.document.paths)) {
    const key = moved.get(path)
    if (key === undefined) {
      put(paths, path, item)
      continue
    }
    const copy = copyPlain(item) as JsonObject
    for (const operation of Object.values(copy)) {
      if (isObject(operation)) renameVariables(operation, path, key, { components: part.document.components })
    }
    put(paths, key, copy)
  }
  const operations = part.operations.map((operation) => {
    const published = moved.get(operation.published)
    return published === undefined ? operation : { ...operation, published }
  })
  return { ...part, operations, document: { ...part.document, paths } }
}
