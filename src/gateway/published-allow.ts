import type { SecurityRequirements } from '../authentication/identify.ts'
import type { AllowDefinition, AllowPolicy, AllowRow } from '../authorization/allow.ts'
import { everyRole, everyScope } from '../authorization/requirements.ts'
import type { JsonObject, SecurityRequirement } from '../openapi/document.ts'

export interface PublishedAllowSettings {
  /** `gateway.docs.policies`: whether the text of conditions is shown. */
  readonly policies: boolean
}

/**
 * `x-sallyport-allow`: what a caller needs besides what the requirement arrays name. Roles (any), permissions (all) and
 * scopes (all) are written out; of a condition only that there is one, because its text can tell more about how things
 * are than a caller should know, unless services.json says that it may. A list of blocks is `anyOf`, what service and
 * route both ask for is `allOf`.
 */
export function publishedAllow(
  definitions: readonly AllowDefinition[],
  settings: PublishedAllowSettings,
): JsonObject | undefined {
  const all = definitions.map((definition) => publishedBlocks(definition, settings))
  if (all.length === 0) return undefined
  return all.length === 1 ? all[0] : { allOf: all }
}

function publishedBlocks(definition: AllowDefinition, { policies }: PublishedAllowSettings): JsonObject {
  const blocks = [definition].flat().map(({ when, resource: _, ...rows }) => ({
    ...rows,
    ...(when !== undefined && (policies ? { when } : { condition: true })),
  }))
  return blocks.length === 1 ? blocks[0]! : { anyOf: blocks }
}

export interface Needed {
  readonly declared: readonly SecurityRequirement[]
  readonly authenticators: SecurityRequirements['authenticators']
  readonly policies: readonly AllowPolicy[]
}

/** The same in sentences, for the description of the 403. Undefined when whoever is known may call. */
export function publishedNeeds(
  { declared, authenticators, policies }: Needed,
  settings: PublishedAllowSettings,
): string | undefined {
  const sentences = [
    namesNeeded(declared, authenticators),
    ...policies.map(({ blocks }) => {
      const alternatives = blocks.map(({ rows }) => rows.map((row) => needOf(row, settings)).join(' and '))
      return alternatives.length === 1 ? `Needed: ${alternatives[0]}.` : `One of these: ${alternatives.join('; or ')}.`
    }),
  ].filter((sentence) => sentence !== undefined)
  return sentences.length === 0 ? undefined : sentences.join(' ')
}

function needOf({ needs, condition }: AllowRow, { policies }: PublishedAllowSettings): string {
  return condition && policies ? `the condition ${code(condition.expression.source)}` : needs
}

/** What the requirement arrays name: "With `bearer`: the role admin; with `apiKey`: nothing more." */
function namesNeeded(
  declared: readonly SecurityRequirement[],
  authenticators: SecurityRequirements['authenticators'],
): string | undefined {
  if (declared.every((requirement) => Object.values(requirement).every((names) => names.length === 0))) return undefined
  const alternatives = declared.map((requirement) => {
    const schemes = Object.keys(requirement).map((scheme) => `\`${scheme}\``)
    const needs = Object.entries(requirement).flatMap(([scheme, names]) => {
      if (names.length === 0) return []
      const kind = authenticators.find((candidate) => candidate.scheme === scheme)?.names
      return [(kind === 'scopes' ? everyScope([...names], '') : everyRole([...names], '')).needs]
    })
    const how = schemes.length === 0 ? 'without a credential' : `with ${schemes.join(' and ')}`
    return `${how}: ${needs.length === 0 ? 'nothing more' : needs.join(' and ')}`
  })
  const text = alternatives.join('; ')
  return `${text[0]!.toUpperCase()}${text.slice(1)}.`
}

/** A code span of CommonMark (§6.1), whatever stands in it. */
function code(text: string): string {
  const line = text.trim().replace(/\s+/g, ' ')
  const longest = Math.max(0, ...[...line.matchAll(/`+/g)].map(([run]) => run.length))
  const fence = '`'.repeat(longest + 1)
  return longest === 0 ? `${fence}${line}${fence}` : `${fence} ${line} ${fence}`
}
