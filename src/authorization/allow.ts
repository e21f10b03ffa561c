import { z } from 'zod'
import type { Caller } from '../authentication/caller.ts'
import { type Decision, type Policy, permit, type Question } from './policy.ts'
import {
  anyRole,
  type Denial,
  everyPermission,
  everyScope,
  expandPermissions,
  type Row,
  sentence,
} from './requirements.ts'

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

export interface AllowTools {
  /** What each role brings along: `{ "editor": ["orders:write"] }`. */
  readonly rolePermissions?: Readonly<Record<string, readonly string[]>>
}

/** A compiled `allow`, with its parts laid open for explanations. */
export interface AllowPolicy extends Policy {
  readonly blocks: readonly Block[]
}

/** Rows of which all must hold, cheapest first. */
export interface Block {
  /** JSON pointer below `allow`: empty for a single block, `/0` in a list. */
  readonly pointer: string
  readonly rows: readonly Row[]
}

/** Compile `allow`, or the default that lets every authenticated caller through when it is left out. */
export function compileAllow(definition: AllowDefinition | undefined, tools: AllowTools = {}): AllowPolicy {
  if (definition === undefined) return { blocks: [], decide: () => permit }
  const permissionsOf = expandPermissions(tools.rolePermissions)
  const blocks = Array.isArray(definition)
    ? definition.map((one, index) => compileBlock(one, `/${index}`, permissionsOf))
    : [compileBlock(definition, '', permissionsOf)]

  const [only] = blocks
  if (blocks.length === 1 && only) return { blocks, decide: (question) => firstDenial(only, question) ?? permit }

  const alternatives = blocks.map((one) => one.rows.map((row) => row.needs).join(' and '))
  const detail = `One of these is needed: ${alternatives.join('; or ')}.`
  return {
    blocks,
    decide: function decideAny(question): Decision {
      let nearest: { readonly denial: Denial; readonly passed: number } | undefined
      for (const one of blocks) {
        const denial = firstDenial(one, question)
        if (denial === undefined) return permit
        const passed = one.rows.findIndex((row) => row.pointer === denial.row)
        if (nearest === undefined || passed > nearest.passed) nearest = { denial, passed }
      }
      return { ...nearest!.denial, detail }
    },
  }
}

function compileBlock(
  definition: BlockDefinition,
  pointer: string,
  permissionsOf: (caller: Caller) => readonly string[],
): Block {
  const rows: Row[] = []
  if (definition.roles) rows.push(anyRole(definition.roles, `${pointer}/roles`))
  if (definition.permissions)
    rows.push(everyPermission(definition.permissions, `${pointer}/permissions`, permissionsOf))
  if (definition.scopes) rows.push(everyScope(definition.scopes, `${pointer}/scopes`))
  return { pointer, rows }
}

function firstDenial({ rows }: Block, question: Question): Denial | undefined {
  for (const row of rows) {
    const denial = row.check(question)
    if (denial !== undefined) return denial
  }
  return undefined
}
