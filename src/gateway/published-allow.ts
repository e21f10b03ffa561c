import type { AllowDefinition } from '../authorization/allow.ts'
import type { JsonObject } from '../openapi/document.ts'

/**
 * `x-sallyport-allow`: what a caller needs besides what the requirement arrays name. Roles (any), permissions (all) and
 * scopes (all) are written out; of a condition only that there is one, because its text can tell more about how things
 * are than a caller should know. A list of blocks is `anyOf`, what service and route both ask for is `allOf`.
 */
export function publishedAllow(definitions: readonly AllowDefinition[]): JsonObject | undefined {
  const all = definitions.map(publishedBlocks)
  if (all.length === 0) return undefined
  return all.length === 1 ? all[0] : { allOf: all }
}

function publishedBlocks(definition: AllowDefinition): JsonObject {
  const blocks = [definition]
    .flat()
    .map(({ when, ...rows }) => ({ ...rows, ...(when !== undefined && { condition: true }) }))
  return blocks.length === 1 ? blocks[0]! : { anyOf: blocks }
}
