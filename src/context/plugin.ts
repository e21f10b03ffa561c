import { Secret } from './secret.ts'

/** The header fields of the request that has arrived. Names in any case. */
export interface RequestFields {
  /** The one value of a field; several lines are joined with ", " (RFC 9110 §5.3). Undefined when absent. */
  get(name: string): string | undefined
}

/** Header field lines by name. */
export type FieldLines = Readonly<Record<string, string>>

/** One value of the context: where it comes from, and where it goes. */
export interface Plugin<Value> {
  /** Called once for each request, when it arrives; for jobs and tests with no fields at all. Throw `FieldRefused` to answer 400. */
  read(fields: RequestFields): Value
  /** The fields that take the value to the next service, sent to trusted origins only. Without it the value stays here. */
  readonly carry?: {
    /** Every field name that `fields` may yield: what is taken off again when a redirect leaves the trusted origins. */
    readonly names: readonly string[]
    fields(value: Value): FieldLines
  }
  /** The fields that repeat the value in our own answer. */
  answer?(value: Value): FieldLines
  /** The value is a `Secret`; `context.run` then also takes it as plain text. */
  readonly secret?: boolean
}

/** The values of a set of plugins, by name. */
export type ValuesOf<Plugins> = { [Name in keyof Plugins]: Plugins[Name] extends Plugin<infer Value> ? Value : never }

/** A field that the service cannot work with. Koa, Express and Fastify all answer it with 400 and the message. */
export class FieldRefused extends Error {
  readonly status = 400
  readonly statusCode = 400
  readonly expose = true

  constructor(message: string) {
    super(message)
    this.name = 'FieldRefused'
  }
}

export interface FieldOptions {
  /** Take the field on to the next service. Default: false. */
  readonly carry?: boolean
  /** Keep the value as a `Secret`. Default: false. */
  readonly secret?: boolean
}

/**
 * One header field, as it came: `tenant: field('X-Tenant-ID', { carry: true })`.
 * With `secret: true` the value is a `Secret`.
 */
export function field(name: string, options: FieldOptions & { readonly secret: true }): Plugin<Secret | undefined>
export function field(name: string, options?: FieldOptions & { readonly secret?: false }): Plugin<string | undefined>
export function field(name: string, options: FieldOptions = {}): Plugin<Secret | string | undefined> {
  const wrap = options.secret ? (text: string) => new Secret(text) : (text: string) => text
  return {
    read(fields) {
      const text = fields.get(name)
      return text === undefined ? undefined : wrap(text)
    },
    ...(options.carry && {
      carry: {
        names: [name],
        fields: (value) => (value === undefined ? {} : { [name]: value instanceof Secret ? value.reveal() : value }),
      },
    }),
    ...(options.secret && { secret: true }),
  }
}

/** A place for something your own code finds out and later code of the same request needs: `user: value<User>()`, then `context.set('user', …)`. */
export function value<Value>(): Plugin<Value | undefined> {
  return { read: () => undefined }
}
