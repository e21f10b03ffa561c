import { z } from 'zod'
import type { CredentialLocation } from '../authentication/authenticator.ts'
import { partReferences } from '../http/part-path.ts'
import { duration } from '../values.ts'
import { type Condition, conditionRow } from './condition.ts'
import { createExpressions, type Expression, InvalidExpression } from './expression.ts'
import { type Decision, type Policy, permit, type ResourceNeed } from './policy.ts'
import {
  anyRole,
  type Denial,
  everyPermission,
  everyScope,
  expandPermissions,
  type PermissionsOf,
  type Row,
  type Undecided,
} from './requirements.ts'
import { createScopes } from './vocabulary.ts'

const name = z.string().min(1, 'a name has at least one character')
// What is needed travels in a WWW-Authenticate field: only the characters of RFC 6749 §3.3.
const scope = z
  .string()
  .regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, 'a scope is printable ASCII without spaces, quotes and backslashes')

const resource = z
  .strictObject({
    get: z
      .string()
      .regex(/^\/[\x21-\x7e]*$/, 'the path of a thing starts with "/" and is below the service, such as "/{id}"')
      .describe('Path and query below the service; {id} is the parameter of the route.'),
    cache: duration()
      .optional()
      .describe(
        'How long what was read serves the same caller again, such as "5s". Default: every request reads anew.',
      ),
  })
  .describe(
    'The thing that `when` decides about, as `resource`: "resource.author == caller.subject". It is read from the service ' +
      "with GET and the caller's own identity, as JSON of at most 256kb, and only when the decision hangs on it. What the " +
      'service does not show the caller denies; when it cannot be read, the request is answered with 502, 503 or 504.',
  )

const block = z
  .strictObject({
    roles: z
      .array(name)
      .min(1, 'name at least one role, or leave `roles` out')
      .optional()
      .describe('Any one of these roles is enough.'),
    permissions: z
      .array(name)
      .min(1, 'name at least one permission, or leave `permissions` out')
      .optional()
      .describe('Every one of these permissions is needed; what roles bring along counts.'),
    scopes: z
      .array(scope)
      .min(1, 'name at least one scope, or leave `scopes` out')
      .optional()
      .describe('Every one of these OAuth scopes is needed. A refusal names them in `WWW-Authenticate` (RFC 6750).'),
    when: z
      .string()
      .min(1, 'an expression such as "caller.subject == request.params.userId"')
      .optional()
      .describe(
        'A condition in CEL over `caller` (subject, issuer, clientId, name, email, organization, roles, permissions, scopes, ' +
          'claims, method, authenticated), `request` (method, path, params, query, headers, ip, host, time), `service.name`, ' +
          "`route.id` and, where `resource` is written, `resource`: \"caller.subject == request.params.userId || 'admin' in caller.roles\". Besides CEL's own functions there " +
          'are re2(text, "pattern"), glob(text, "/a/*") and inNetwork(request.ip, "10.0.0.0/8"). What cannot be evaluated, such as ' +
          'a claim that is not there, denies; has(caller.claims.tenant) asks first.',
      ),
    resource: resource.optional(),
  })
  .refine(({ resource: _, ...rows }) => Object.values(rows).some((row) => row !== undefined), {
    message: 'an empty block lets every caller through: write what is needed, or leave `allow` out',
  })
  .describe('What a caller needs. Every row that is written must hold.')

/** The schema of `allow` in services.json. */
export const allow = z
  .union([block, z.array(block).min(1, 'an empty list lets nobody through: write a block, or leave `allow` out')])
  .describe(
    'Who may call, once it is known who calls: one block of requirements, or a list of blocks of which any one is enough.',
  )

export type AllowDefinition = z.output<typeof allow>
type BlockDefinition = z.output<typeof block>

/** What all policies of one gateway share. */
export interface PolicyTools {
  /** What each role brings along: `{ "editor": ["orders:write"] }`. */
  readonly rolePermissions?: Readonly<Record<string, readonly string[]>> | undefined
  /** Where credentials stand; expressions and explanations do not get to see them. `Authorization` and `Cookie` never. */
  readonly credentials?: readonly CredentialLocation[] | undefined
  /** Called when a `when` could not be evaluated, which denies: to count and to log. */
  readonly onError?: ((failure: PolicyFailure) => void) | undefined
}

export interface PolicyFailure {
  /** JSON pointer of the row: the place of `allow`, then the row below it. */
  readonly pointer: string
  readonly error: unknown
}

/** Where one `allow` is written. */
export interface PolicyPlace {
  /** JSON pointer of `allow`, such as `/services/0/allow`; empty when left out. */
  readonly pointer?: string
  /** The parameters of the route's template; an expression that names another one is refused. Unchecked when left out. */
  readonly params?: readonly string[]
}

/** A compiled `allow`, with its parts laid open for explanations. */
export interface AllowPolicy extends Policy {
  readonly blocks: readonly Block[]
  /** The decision that follows from what each row says; `decide` asks the rows themselves. */
  conclude(verdictOf: (row: AllowRow) => Denial | Undecided | undefined): Decision
  /** What its conditions may want to read, each thing once. */
  readonly resources: readonly ResourceNeed[]
}

/** Rows of which all must hold, cheapest first. */
export interface Block {
  /** JSON pointer below `allow`: empty for a single block, `/0` in a list. */
  readonly pointer: string
  readonly rows: readonly AllowRow[]
}

export interface AllowRow extends Row {
  /** In the row that has one. */
  readonly condition?: Condition
}

/** Something in an `allow` that cannot be used. */
export interface Mistake {
  /** JSON pointer, below the place of `allow`. */
  readonly pointer: string
  /** What is wrong and what would be right; several lines for an expression: where, the line, a caret. */
  readonly message: string
}

/** All mistakes of one `allow`. */
export class InvalidAllow extends Error {
  readonly mistakes: readonly Mistake[]

  constructor(mistakes: readonly Mistake[]) {
    super(mistakes.map(({ pointer, message }) => `${pointer}: ${message}`).join('\n'))
    this.name = 'InvalidAllow'
    this.mistakes = mistakes
  }
}

export interface Policies {
  /** Throws `InvalidAllow` with every mistake at once. Without a definition everybody who was authenticated is let through. */
  compile(definition: AllowDefinition | undefined, place?: PolicyPlace): AllowPolicy
}

/** The compiler of every `allow` of one gateway: policies share the engine and what is known about callers. */
export function createPolicies({ rolePermissions, credentials, onError }: PolicyTools = {}): Policies {
  const permissionsOf = expandPermissions(rolePermissions)
  const compileExpression = createExpressions(createScopes(permissionsOf, credentials))

  return {
    compile: function compileAllow(definition, { pointer: base = '', params } = {}) {
      if (definition === undefined) return { blocks: [], resources: [], decide: () => permit, conclude: () => permit }
      const mistakes: Mistake[] = []
      const report = (pointer: string) => (error: unknown) => onError?.({ pointer: `${base}${pointer}`, error })
      const complain = (pointer: string, message: string) => {
        mistakes.push({ pointer: `${base}${pointer}`, message })
      }
      const compileWhen: CompileWhen = ({ when, resource }, pointer) => {
        if (resource)
          for (const message of mistakesOf(resource.get, params)) complain(`${pointer}/resource/get`, message)
        if (when === undefined) {
          if (resource) complain(`${pointer}/resource`, 'nothing decides about it: write `when`, or leave it out')
          return undefined
        }
        const place = `${pointer}/when`
        let expression: Expression
        try {
          expression = compileExpression(when, { params, resource: resource !== undefined })
        } catch (error) {
          if (!(error instanceof InvalidExpression)) throw error
          complain(place, error.message)
          return undefined
        }
        if (resource && !expression.asksResource)
          complain(`${pointer}/resource`, '`when` does not speak of `resource`: leave it out, so that nothing is read')
        const need = resource && { get: resource.get, cache: resource.cache ?? 0 }
        return conditionRow({ expression, resource: need }, place, report(place))
      }
      const blocks = Array.isArray(definition)
        ? definition.map((one, index) => compileBlock(one, `/${index}`, permissionsOf, compileWhen))
        : [compileBlock(definition, '', permissionsOf, compileWhen)]
      if (mistakes.length > 0) throw new InvalidAllow(mistakes)
      return decideBy(blocks)
    },
  }
}

/** One `allow` by itself; throws `InvalidAllow`. */
export function compileAllow(
  definition: AllowDefinition | undefined,
  tools: PolicyTools = {},
  place?: PolicyPlace,
): AllowPolicy {
  return createPolicies(tools).compile(definition, place)
}

type CompileWhen = (definition: BlockDefinition, pointer: string) => AllowRow | undefined

/** What stands between braces in the path of a thing is a parameter of the route; unchecked where that is not known. */
function mistakesOf(get: string, params: readonly string[] | undefined): readonly string[] {
  return partReferences(get).flatMap(({ name, members }) => {
    if (members.length === 0 && (!params || params.includes(name))) return []
    const known = params && params.length > 0 ? `it has ${params.join(', ')}` : 'it has none'
    return [`the route has no parameter {${[name, ...members].join('.')}}${params ? `; ${known}` : ''}`]
  })
}

function compileBlock(
  definition: BlockDefinition,
  pointer: string,
  permissionsOf: PermissionsOf,
  compileWhen: CompileWhen,
): Block {
  const rows: AllowRow[] = []
  if (definition.roles) rows.push(anyRole(definition.roles, `${pointer}/roles`))
  if (definition.permissions)
    rows.push(everyPermission(definition.permissions, `${pointer}/permissions`, permissionsOf))
  if (definition.scopes) rows.push(everyScope(definition.scopes, `${pointer}/scopes`))
  const condition = compileWhen(definition, pointer)
  if (condition) rows.push(condition)
  return { pointer, rows }
}

/** All rows of a block, any block of a list. */
function decideBy(blocks: readonly Block[]): AllowPolicy {
  const alternatives = blocks.map((one) => one.rows.map((row) => row.needs).join(' and '))
  const detail = blocks.length > 1 ? `One of these is needed: ${alternatives.join('; or ')}.` : undefined

  /**
   * A block that permits ends it, whatever another one would still want to read: in which order they stand changes
   * nothing. A row that cannot be told keeps its block from denying for good, and only then.
   */
  function conclude(verdictOf: (row: AllowRow) => Denial | Undecided | undefined): Decision {
    let nearest: Denial | undefined
    let furthest = -1
    let needs: readonly ResourceNeed[] | undefined
    for (const { rows } of blocks) {
      let verdict: Denial | Undecided | undefined
      let passed = 0
      for (; passed < rows.length; passed++) {
        verdict = verdictOf(rows[passed]!)
        if (verdict !== undefined) break
      }
      if (verdict === undefined) return permit
      if (verdict.verdict === 'undecided') needs = [...(needs ?? []), ...verdict.needs]
      else if (verdict.problem ? !nearest?.problem : passed > furthest && !nearest?.problem) {
        furthest = passed
        nearest = verdict
      }
    }
    if (needs) return { verdict: 'undecided', needs }
    // The caller is told about the block it came nearest to, and what else would have done.
    return detail === undefined ? nearest! : { ...nearest!, detail }
  }

  const resources = new Map(
    blocks.flatMap(({ rows }) =>
      rows.flatMap(({ condition }) =>
        condition?.resource ? [[condition.resource.get, condition.resource] as const] : [],
      ),
    ),
  )
  return {
    blocks,
    resources: [...resources.values()],
    conclude,
    decide: (question) => conclude((row) => row.check(question)),
  }
}
