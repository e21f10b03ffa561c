import { BlockList, isIP } from 'node:net'
import { type ASTNode, Environment, ParseError } from '@marcbachmann/cel-js'
import { RE2JS } from 're2js'
import type { CredentialLocation } from '../authentication/authenticator.ts'
import type { Caller } from '../authentication/caller.ts'
import type { Question } from './policy.ts'
import type { PermissionsOf } from './requirements.ts'

/**
 * What an expression may speak of: `caller`, `request`, `service`, `route`, and a few functions more than CEL has.
 *
 * Everything is built when an expression first asks for it, and shown as declared types or Maps: an object's prototype
 * cannot be reached, and a header field or claim called `constructor` is a key like any other.
 */

/** Longest list or map that an expression with loops is run over, and most query parameters for any expression. */
export const longestList = 100
/** Longest text that `re2` and `glob` look at, in UTF-16 code units. */
export const longestText = 4_096
const deepestClaim = 20
const deepestThing = 20

const callerFields = {
  subject: 'string',
  issuer: 'string',
  clientId: 'string',
  name: 'string',
  email: 'string',
  organization: 'string',
  roles: 'list<string>',
  permissions: 'list<string>',
  scopes: 'list<string>',
  claims: 'map<string, dyn>',
  method: 'string',
  authenticated: 'bool',
} as const

const requestFields = {
  method: 'string',
  path: 'string',
  params: 'map<string, string>',
  query: 'map<string, string>',
  headers: 'map<string, string>',
  ip: 'string',
  host: 'string',
  time: 'google.protobuf.Timestamp',
} as const

/** The names an operator may use, for messages. */
export const vocabulary: Readonly<Record<string, readonly string[]>> = {
  caller: Object.keys(callerFields),
  request: Object.keys(requestFields),
  service: ['name'],
  route: ['id'],
}

class CallerView {
  readonly #caller: Caller
  readonly #permissions: readonly string[]
  readonly #longest: number
  #claims: ReadonlyMap<string, unknown> | undefined

  constructor(caller: Caller, permissions: readonly string[], longest: number) {
    this.#caller = caller
    this.#permissions = permissions
    this.#longest = longest
  }

  get subject() {
    return this.#caller.subject
  }
  get issuer() {
    return this.#caller.issuer
  }
  get clientId() {
    return this.#caller.clientId
  }
  get name() {
    return this.#caller.name
  }
  get email() {
    return this.#caller.email
  }
  get organization() {
    return this.#caller.organization
  }
  get roles() {
    return bounded(this.#caller.roles, this.#longest)
  }
  get permissions() {
    return bounded(this.#permissions, this.#longest)
  }
  get scopes() {
    return bounded(this.#caller.scopes, this.#longest)
  }
  get claims() {
    this.#claims ??= asMap(this.#caller.claims, this.#longest, deepestClaim)
    return this.#claims
  }
  get method() {
    return this.#caller.method
  }
  get authenticated() {
    return this.#caller.method !== 'none'
  }
}

class RequestView {
  readonly #question: Question
  readonly #hidden: Hidden
  #params: Question['params'] | undefined
  #query: ReadonlyMap<string, unknown> | undefined
  #headers: ReadonlyMap<string, string> | undefined

  readonly #wallClock: WallClock
  readonly #longest: number

  constructor(question: Question, { hidden, wallClock }: Surroundings, longest: number) {
    this.#question = question
    this.#hidden = hidden
    this.#wallClock = wallClock
    this.#longest = longest
  }

  get method() {
    return this.#question.head.method
  }
  get path() {
    return this.#question.head.path
  }
  get params() {
    // The question makes them anew each time.
    this.#params ??= this.#question.params
    return this.#params
  }
  get query() {
    this.#query ??= readQuery(this.#question.head.query, this.#hidden.parameters)
    return this.#query
  }
  get headers() {
    this.#headers ??= readFields(this.#question.head.fields.raw, this.#hidden.fields, this.#longest)
    return this.#headers
  }
  get ip() {
    return this.#question.head.client.address
  }
  get host() {
    return this.#question.head.client.host
  }
  get time() {
    const time = new Date(this.#question.now)
    // The engine asks for a wall clock with `toLocaleString`, which builds a formatter each time: 70 µs instead of 3.
    time.toLocaleString = this.#wallClock
    return time
  }
}

class ServiceView {
  readonly name: string
  constructor(name: string) {
    this.name = name
  }
}

class RouteView {
  readonly id: string
  constructor(id: string) {
    this.id = id
  }
}

/** The variables of one decision. */
export class Scope {
  readonly caller: CallerView
  readonly #question: Question
  readonly #surroundings: Surroundings
  readonly #longest: number
  readonly #read: ReadThing | undefined
  #thing: unknown
  #request: RequestView | undefined

  constructor(
    question: Question,
    caller: CallerView,
    surroundings: Surroundings,
    longest: number,
    read: ReadThing | undefined,
  ) {
    this.caller = caller
    this.#question = question
    this.#surroundings = surroundings
    this.#longest = longest
    this.#read = read
  }

  get request() {
    this.#request ??= new RequestView(this.#question, this.#surroundings, this.#longest)
    return this.#request
  }
  get service() {
    return new ServiceView(this.#question.service.name)
  }
  get route() {
    return new RouteView(this.#question.route.id)
  }
  get resource() {
    this.#thing ??= asThing(this.#read!(), this.#longest, deepestThing)
    return this.#thing
  }
}

/** Credentials are no business of a policy, and would turn up in explanations. */
interface Hidden {
  readonly fields: ReadonlySet<string>
  readonly parameters: ReadonlySet<string>
}

/** What all scopes share. */
interface Surroundings {
  readonly hidden: Hidden
  readonly wallClock: WallClock
}

/** Gives `resource`, or throws why there is none. */
export type ReadThing = () => unknown

/** Builds the scope of a question. `looping` says whether the expression may run through lists. */
export type ScopeOf = (question: Question, looping: boolean, resource?: ReadThing) => Scope

export function createScopes(permissionsOf: PermissionsOf, credentials: readonly CredentialLocation[] = []): ScopeOf {
  const named = (where: CredentialLocation['in']) =>
    credentials.filter((one) => one.in === where).map((one) => one.name)
  const hidden: Hidden = {
    fields: new Set([
      'authorization',
      'proxy-authorization',
      'cookie',
      ...named('header').map((name) => name.toLowerCase()),
    ]),
    parameters: new Set(['access_token', ...named('query')]),
  }
  const surroundings: Surroundings = { hidden, wallClock: createWallClock() }
  // One view per caller, since one caller object serves every request that shows the same credential.
  const plain = new WeakMap<Caller, CallerView>()
  const looped = new WeakMap<Caller, CallerView>()

  return function scopeOf(question, looping, resource) {
    const views = looping ? looped : plain
    const longest = looping ? longestList : Number.POSITIVE_INFINITY
    let view = views.get(question.caller)
    if (view === undefined) {
      view = new CallerView(question.caller, permissionsOf(question.caller), longest)
      views.set(question.caller, view)
    }
    return new Scope(question, view, surroundings, longest, resource)
  }
}

/** `Date.prototype.toLocaleString` for the one use the engine makes of it: the time in a zone, as `Date.parse` reads it. */
type WallClock = (this: Date, locales?: unknown, options?: Intl.DateTimeFormatOptions) => string

const wallClockParts = {
  year: 'numeric',
  month: 'numeric',
  day: 'numeric',
  hour: 'numeric',
  minute: 'numeric',
  second: 'numeric',
  hourCycle: 'h23',
} as const satisfies Intl.DateTimeFormatOptions

function createWallClock(): WallClock {
  const formats = new Map<string, Intl.DateTimeFormat>()
  return function wallClock(_locales, options) {
    const timeZone = options?.timeZone ?? 'UTC'
    let format = formats.get(timeZone)
    if (format === undefined) {
      format = new Intl.DateTimeFormat('en-US', { timeZone, ...wallClockParts })
      // An expression may take the zone from a request.
      if (formats.size < 64) formats.set(timeZone, format)
    }
    return format.format(this)
  }
}

/** The environment that expressions are parsed and type-checked in. `resource`: whether there is a thing to speak of. */
export function createEnvironment({ resource = false }: { readonly resource?: boolean } = {}): Environment {
  const environment = new Environment({
    limits: { maxAstNodes: 300, maxDepth: 24, maxListElements: 100, maxMapEntries: 100, maxCallArguments: 8 },
  })
  environment
    .registerType('sallyport.Caller', { ctor: CallerView, fields: callerFields })
    .registerType('sallyport.Request', { ctor: RequestView, fields: requestFields })
    .registerType('sallyport.Service', { ctor: ServiceView, fields: { name: 'string' } })
    .registerType('sallyport.Route', { ctor: RouteView, fields: { id: 'string' } })
    .registerVariable('caller', 'sallyport.Caller')
    .registerVariable('request', 'sallyport.Request')
    .registerVariable('service', 'sallyport.Service')
    .registerVariable('route', 'sallyport.Route')
  if (resource) environment.registerVariable('resource', 'dyn')
  for (const [name, digest] of Object.entries(literalFunctions)) {
    environment.registerFunction(`${name}(ast, ast): bool`, literalFunction(name, digest))
  }
  return environment
}

/** Functions of a text and a literal that is digested when the expression is compiled. A throw says what is wrong with the literal. */
const literalFunctions: Readonly<Record<string, (literal: string) => (text: string) => boolean>> = {
  /** Whether a regular expression of RE2 matches any part of the text, in time linear to it. */
  re2: (pattern) => {
    const expression = RE2JS.compile(pattern)
    if (expression.programSize() > 1_000) throw new Error('the pattern is too large')
    return (text) => expression.test(short(text))
  },

  /** Whether the whole text fits a pattern: `*` is anything without a slash, `**` anything, `?` one character but a slash. */
  glob: (pattern) => {
    const expression = RE2JS.compile(
      pattern.replaceAll(/\*\*|\*|\?|[^*?]+/g, (part) => globParts[part] ?? RE2JS.quote(part)),
      RE2JS.DOTALL,
    )
    return (text) => expression.testExact(short(text))
  },

  /** Whether an IP address lies in a network: `inNetwork(request.ip, "10.0.0.0/8")`. */
  inNetwork: (cidr) => {
    const [network = '', length = ''] = cidr.split('/')
    const family = isIP(network)
    if (family === 0 || !/^\d{1,3}$/.test(length) || Number(length) > (family === 4 ? 32 : 128)) {
      throw new Error('a network is an address and a prefix length, such as "10.0.0.0/8"')
    }
    const list = new BlockList()
    list.addSubnet(network, Number(length), family === 4 ? 'ipv4' : 'ipv6')
    return (text) => {
      const asked = isIP(text)
      if (asked === 0) throw new Error('not an IP address')
      return list.check(text, asked === 4 ? 'ipv4' : 'ipv6')
    }
  },
}

export const functionNames = Object.keys(literalFunctions)

const globParts: Readonly<Record<string, string>> = { '**': '.*', '*': '[^/]*', '?': '[^/]' }

function literalFunction(name: string, digest: (literal: string) => (text: string) => boolean) {
  return function expand({ args }: { readonly args: readonly [ASTNode, ASTNode] }) {
    const [text, literal] = args
    if (literal.op !== 'value' || typeof literal.args !== 'string') {
      const message = `The second argument of ${name}() is a text written out in the expression, so that it is checked now`
      throw new ParseError({ code: 'literal_expected', message, node: literal })
    }
    let test: (text: string) => boolean
    try {
      test = digest(literal.args)
    } catch (error) {
      const message = `${name}(): ${error instanceof Error ? error.message : error}`
      throw new ParseError({ code: 'invalid_literal', message, node: literal, cause: error })
    }
    return {
      async: false,
      typeCheck(checker: Checker, _macro: unknown, context: unknown) {
        const type = checker.check(text, context)
        if (type.name === 'string' || type.kind === 'dyn') return checker.getType('bool')
        throw new ParseError({
          code: 'text_expected',
          message: `${name}() looks at a string, not at ${type}`,
          node: text,
        })
      },
      evaluate(evaluator: Evaluator, _macro: unknown, context: unknown) {
        const value = evaluator.run(text, context)
        if (typeof value !== 'string') throw new Error(`${name}() looks at a string`)
        return test(value)
      },
    }
  }
}

/** What the engine hands to a macro; its own declarations leave these out. */
interface Checker {
  check(node: ASTNode, context: unknown): { readonly name: string; readonly kind: string }
  getType(name: string): unknown
}

/** The engine's evaluator, as it is handed to macros. */
export interface Evaluator {
  run(node: ASTNode, context: unknown): unknown
}

function short(text: string): string {
  if (text.length > longestText) throw new Error(`a text of more than ${longestText} characters is not looked at`)
  return text
}

function bounded<T>(list: readonly T[], longest: number): readonly T[] {
  // Cutting a list short would make `!("blocked" in caller.roles)` hold: refuse instead.
  if (list.length > longest) throw new Error(`more than ${longest} items are not run through`)
  return list
}

function asMap(object: object, longest: number, depth: number): ReadonlyMap<string, unknown> {
  const map = new Map<string, unknown>()
  for (const [key, value] of bounded(Object.entries(object), longest))
    if (value !== undefined) map.set(key, asValue(value, longest, depth - 1))
  return map
}

function asValue(value: unknown, longest: number, depth: number): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (depth < 0) throw new Error(`claims nested deeper than ${deepestClaim} levels are not looked at`)
  if (Array.isArray(value)) return bounded(value, longest).map((item) => asValue(item, longest, depth - 1))
  return asMap(value, longest, depth)
}

/**
 * An object of a thing that was read, looked at member by member as the expression asks: a long list in a thing does not
 * keep a loop over another one from running.
 */
class ThingMap extends Map<string, unknown> {
  readonly #longest: number
  readonly #depth: number

  constructor(object: object, longest: number, depth: number) {
    super(bounded(Object.entries(object), longest))
    this.#longest = longest
    this.#depth = depth
  }

  override get(key: string): unknown {
    return asThing(super.get(key), this.#longest, this.#depth)
  }
  override *entries(): MapIterator<[string, unknown]> {
    for (const key of this.keys()) yield [key, this.get(key)]
  }
  override [Symbol.iterator](): MapIterator<[string, unknown]> {
    return this.entries()
  }
  // The engine knows a map by its constructor.
  static {
    Object.defineProperty(ThingMap.prototype, 'constructor', { value: Map })
  }
}

function asThing(value: unknown, longest: number, depth: number): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (depth < 0) throw new Error(`a thing nested deeper than ${deepestThing} levels is not looked at`)
  if (Array.isArray(value)) return bounded(value, longest).map((item) => asThing(item, longest, depth - 1))
  return new ThingMap(value, longest, depth - 1)
}

/** A parameter sent twice becomes a list, which no `map<string, string>` yields: asking for it is an error, and denies. */
function readQuery(query: string, hidden: ReadonlySet<string>): ReadonlyMap<string, unknown> {
  const parameters = new Map<string, unknown>()
  let count = 0
  for (const [name, value] of new URLSearchParams(query)) {
    if (++count > longestList) throw new Error(`more than ${longestList} query parameters are not looked at`)
    if (hidden.has(name)) continue
    const before = parameters.get(name)
    parameters.set(name, before === undefined ? value : [before, value].flat())
  }
  return parameters
}

function readFields(raw: readonly string[], hidden: ReadonlySet<string>, longest: number): ReadonlyMap<string, string> {
  bounded(raw, 2 * longest)
  const fields = new Map<string, string>()
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index]!.toLowerCase()
    if (hidden.has(name)) continue
    const before = fields.get(name)
    fields.set(name, before === undefined ? raw[index + 1]! : `${before}, ${raw[index + 1]}`)
  }
  return fields
}
