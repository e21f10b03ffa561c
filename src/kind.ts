import { z } from 'zod'

/**
 * A kind is one entry of the catalogue: a name the operator writes in services.json,
 * the schema of the settings that follow it, and how to build the thing itself.
 *
 * One file defines it, one line in `catalogue.ts` offers it; types, validation, the JSON Schema
 * and the hover text in an editor follow from `settings`.
 */
export interface Kind<Type extends string, Schema extends z.ZodObject, Product, Tools> {
  readonly type: Type
  readonly settings: Schema
  /** Complain about settings that do not go together; `path` is the member at fault, the message says what would be right. */
  refine?(settings: z.output<Schema>, complain: (path: readonly string[], message: string) => void): void
  create(settings: z.output<Schema>, tools: Tools): Product
}

// biome-ignore lint/suspicious/noExplicitAny: the one place where kinds of different settings share a list
export type AnyKind = Kind<string, any, any, any>

type Tagged<K> =
  // biome-ignore lint/suspicious/noExplicitAny: see above
  K extends Kind<infer Type, infer Schema, any, any>
    ? z.ZodObject<{ type: z.ZodLiteral<Type> } & Schema['shape'], z.core.$strict>
    : never
type TaggedTuple<Kinds extends readonly AnyKind[]> = { -readonly [I in keyof Kinds]: Tagged<Kinds[I]> }

/** Identity function that infers the parts of a kind. */
export function defineKind<const Type extends string, Schema extends z.ZodObject, Product, Tools>(
  kind: Kind<Type, Schema, Product, Tools>,
): Kind<Type, Schema, Product, Tools> {
  return kind
}

/** The schema of "one of these kinds", told apart by `type`; unknown keys are refused. */
export function oneOf<const Kinds extends readonly [AnyKind, ...AnyKind[]]>(kinds: Kinds) {
  const options = kinds.map((kind) => {
    const option = z.strictObject({ type: z.literal(kind.type), ...kind.settings.shape })
    return kind.refine
      ? option.superRefine((settings, context) => {
          kind.refine!(settings, (path, message) => context.addIssue({ code: 'custom', path: [...path], message }))
        })
      : option
  })
  return z.discriminatedUnion('type', options as unknown as TaggedTuple<Kinds> & [z.ZodObject, ...z.ZodObject[]])
}

/** Build the product of the kind that `settings.type` names. */
export function build<const Kinds extends readonly AnyKind[]>(
  kinds: Kinds,
  settings: { readonly type: string },
  tools: Parameters<Kinds[number]['create']>[1],
): ReturnType<Kinds[number]['create']> {
  const kind = kinds.find((candidate) => candidate.type === settings.type)
  if (!kind) throw new TypeError(`no kind named "${settings.type}"`)
  return kind.create(settings, tools)
}
