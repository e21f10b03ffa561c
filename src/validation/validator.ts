import { createRequire } from 'node:module'
import { parseJson } from '../http/json.ts'
import type { RequestHead } from '../http/request-head.ts'
import { type Contract, isJson, type MediaForm, type ParameterForm } from './contract.ts'
import { type Complaint, detailsOf, type Mistake } from './mistake.ts'
import { type PathValues, readParameters } from './parameters.ts'
import { areUnique, compilePattern, createMeter, type Meter, type Pattern, TooManySteps } from './vocabulary.ts'

/** Tells what about a request does not fit the operation's contract. Made once for each operation. */
export interface Validator {
  parameters(head: Pick<RequestHead, 'query' | 'fields'>, path: PathValues): readonly Mistake[]
  /** What content the operation takes; undefined when it says nothing of any. */
  readonly content: ContentValidator | undefined
}

export interface ContentValidator {
  readonly required: boolean
  /** How a body of this type is checked; undefined when the operation does not take it. `type` is the field's value. */
  accepts(type: string | undefined): MediaCheck | undefined
  readonly ranges: readonly string[]
}

export interface MediaCheck {
  /** Whether the body must be read to be checked. */
  readonly readable: boolean
  check(body: Buffer): readonly Mistake[]
}

/** What does not hold. `size`: bytes or characters of what the value was read from. */
type Check = (value: unknown, size: number) => readonly Complaint[]

type Generated = ((value: unknown) => boolean) & { readonly errors?: readonly Complaint[] | null }

/** `covered`: parameters that the gateway takes off or writes itself, so that the client need not send them. */
export function createValidator(contract: Contract, covered: (form: ParameterForm) => boolean): Validator {
  const forms = contract.parameters.filter((form) => !covered(form))
  const check = contract.parametersCode === undefined ? undefined : load(contract.parametersCode)
  const { content } = contract
  const media = content?.media.map((form) => ({ range: form.range, check: mediaCheck(form) }))
  return {
    parameters(head, path) {
      const { values, mistakes } = readParameters(forms, head, path)
      const complaints = check?.(values, head.query.length) ?? []
      return complaints.length === 0 ? mistakes : [...mistakes, ...parameterMistakes(complaints)]
    },
    content: content && {
      required: content.required,
      ranges: content.media.map(({ range }) => range),
      accepts(type) {
        const essence = (type ?? '').split(';', 1)[0]!.trim().toLowerCase()
        const found = best(media!, essence)
        // What a range takes that takes everything is JSON where the client says so.
        return found?.range.endsWith('/*') && !isJson(essence) ? unread : found?.check
      },
    },
  }
}

/** The most specific range wins (OpenAPI 3.1 §4.8.14.1). */
function best<T extends { readonly range: string }>(media: readonly T[], essence: string): T | undefined {
  return (
    media.find(({ range }) => range === essence) ??
    media.find(({ range }) => range === `${essence.split('/', 1)[0]}/*`) ??
    media.find(({ range }) => range === '*/*')
  )
}

const deepestBody = 128
const faults = {
  'utf-8': 'is not UTF-8 (RFC 8259 §8.1)',
  json: 'is not JSON (RFC 8259)',
  nesting: `has more than ${deepestBody} objects and lists in each other`,
  'duplicate-member': 'has an object with the same name twice (RFC 8259 §4)',
} as const

const unread: MediaCheck = { readable: false, check: () => [] }

function mediaCheck({ code }: MediaForm): MediaCheck {
  if (code === undefined) return unread
  const check = load(code)
  return {
    readable: true,
    check(body) {
      const parsed = parseJson(body, deepestBody)
      if (parsed.outcome === 'malformed') return [{ in: 'body', pointer: '', detail: faults[parsed.reason] }]
      return detailsOf(check(parsed.value, body.length)).map((detail) => ({ in: 'body' as const, ...detail }))
    },
  }
}

/** Parameters are checked as one object: the pointer begins with location and name. */
function parameterMistakes(complaints: readonly Complaint[]): readonly Mistake[] {
  return detailsOf(complaints).map(({ pointer, detail }) => {
    const [, location = '', name = ''] = pointer.split('/')
    return {
      in: location as Mistake['in'],
      name: name.replaceAll('~1', '/').replaceAll('~0', '~'),
      pointer: pointer.slice(location.length + name.length + 2),
      detail,
    }
  })
}

const require = createRequire(import.meta.url)

/** Nothing but what Ajv's own generator asks for. */
function requireOf(name: string): unknown {
  if (!/^ajv(?:-formats)?\/dist\/[a-z0-9/_]+$/i.test(name)) throw new Error(`a check wants ${name}`)
  return require(name)
}

/**
 * The function that a generated source exports. The source is Ajv's, made from a schema in our own thread; texts of the
 * schema stand in it as literals only.
 */
function load(code: string): Check {
  const module: { exports?: Generated } = {}
  const meter: Meter = createMeter()
  new Function('module', 'require', 'pattern', 'areUnique', 'meter', code)(
    module,
    requireOf,
    (expression: string) => meteredPattern(expression, meter),
    areUnique,
    meter,
  )
  const generated = module.exports!
  return function check(value, size) {
    meter.start(fewestSteps + stepsOfByte * size)
    try {
      return generated(value) ? [] : (generated.errors ?? [])
    } catch (error) {
      if (error instanceof TooManySteps) return [tooManySteps]
      throw error
    }
  }
}

/** A second of a slow machine for a body of 256 KiB. */
const fewestSteps = 500_000
const stepsOfByte = 4

const tooManySteps: Complaint = {
  instancePath: '',
  keyword: 'steps',
  message: 'can be read in too many ways to be checked',
  params: {},
}

function meteredPattern(expression: string, meter: Meter): Pattern {
  const pattern = lenientPattern(expression)
  return {
    test(text) {
      meter.charge(text, patternCost, false)
      return pattern.test(text)
    },
  }
}

const patternCost = 8

/** What RE2 cannot say was named when the check was generated; here it holds for everything. */
function lenientPattern(expression: string): Pattern {
  try {
    return compilePattern(expression)
  } catch {
    return { test: () => true }
  }
}
