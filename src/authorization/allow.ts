import { z } from 'zod'
import type { CredentialLocation } from '../authentication/authenticator.ts'
import { createExpressions, type Expression, InvalidExpression } from './expression.ts'
import { type Decision, type Policy, permit } from './policy.ts'
import {
  anyRole,
  type Denial,
  everyPermission,
  everyScope,
  expandPermissions,
  type PermissionsOf,
  type Row,
} from './requirements.ts'
import { createScopes } from './vocabulary.ts'

const name = z.string().min(1, 'a name has at least one character')
// What is needed travels in a WWW-Authenticate field: only the characters of RFC 6749 §3.3.
const scope = z
  .string()
  .regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, 'a scope is printable ASCII without spaces, quotes and backslashes')

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
          'claims, method, authenticated), `request` (method, path, params, query, headers, ip, host, time), `service.name` and ' +
          "`route.id`: \"caller.subject == request.params.userId || 'admin' in caller.roles\". Besides CEL's own functions there " +
          'are re2(text, "pattern"), glob(text, "/a/*") and inNetwork(request.ip, "10.0.0.0/8"). What cannot be evaluated, such as ' +
          'a claim that is not there, denies; has(caller.claims.tenant) asks first.',
      ),
  })
  .refine((rows) => Object.values(rows).some((row) => row !== undefined), {
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
  conclude(verdictOf: (row: AllowRow) => Denial | undefined): Decision
}

/** Rows of which all must hold, cheapest first. */
export interface Block {
  /** JSON pointer below `allow`: empty for a single block, `/0` in a list. */
  readonly pointer: string
  readonly rows: readonly AllowRow[]
}

export interface AllowRow extends Row {
  /** The compiled `when` and what is answered when it does not hold, in the row that has one. */
  readonly condition?: { readonly expression: Expression; readonly denial: Denial }
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
      if (definition === undefined) return { blocks: [], decide: () => permit, conclude: () => permit }
      const mistakes: Mistake[] = []
      const report = (pointer: string) => (error: unknown) => onError?.({ pointer: `${base}${pointer}`, error })
      const compileWhen: CompileWhen = (source, pointer) => {
        try {
          return when(compileExpression(source, { params }), pointer, report(pointer))
        } catch (error) {
          if (!(error instanceof InvalidExpression)) throw error
          mistakes.push({ pointer: `${base}${pointer}`, message: error.message })
          return undefined
        }
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

type CompileWhen = (source: string, pointer: string) => AllowRow | undefined

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
  const condition = definition.when === undefined ? undefined : compileWhen(definition.when, `${pointer}/when`)
  if (condition) rows.push(condition)
  return { pointer, rows }
}

/** The row of an expression. What cannot be evaluated denies. */
function when(expression: Expression, pointer: string, report: (error: unknown) => void): AllowRow {
  const denial: Denial = Object.freeze({
    verdict: 'deny',
    code: 'policy-denied',
    row: pointer,
    detail: 'A condition on the caller and the request does not hold.',
  })
  return {
    pointer,
    needs: 'a condition on the caller and the request',
    condition: { expression, denial },
    check: function checkExpression(question) {
      try {
        return expression.holds(question) ? undefined : denial
      } catch (error) {
        report(error)
        return denial
      }
    },
  }
}

/** All rows of a block, any block of a list. */
function decideBy(blocks: readonly Block[]): AllowPolicy {
  const alternatives = blocks.map((one) => one.rows.map((row) => row.needs).join(' and '))
  const detail = blocks.length > 1 ? `One of these is needed: ${alternatives.join('; or ')}.` : undefined

  function conclude(verdictOf: (row: AllowRow) => Denial | undefined): Decision {
    let nearest: Denial | undefined
    let furthest = -1
    for (const { rows } of blocks) {
      let denial: Denial | undefined
      let passed = 0
      for (; passed < rows.length; passed++) {
        denial = verdictOf(rows[passed]!)
        if (denial !== undefined) break
      }
      if (denial === undefined) return permit
      if (passed <= furthest) continue
      furthest = passed
      nearest = denial
    }
    // The caller is told about the block it came nearest to, and what else would have done.
    return detail === undefined ? nearest! : { ...nearest!, detail }
  }

  return { blocks, conclude, decide: (question) => conclude((row) => row.check(question)) }
}
