import type { ParameterLocation } from './contract.ts'

/** One thing about a request that does not fit the document. Holds no value that the client sent, names at the most. */
export interface Mistake {
  readonly in: ParameterLocation | 'body'
  /** Of the parameter. */
  readonly name?: string
  /** Where in the value, a JSON pointer (RFC 6901); empty for all of it. */
  readonly pointer: string
  readonly detail: string
}

/** What a generated check says of one thing that does not hold; the shape is Ajv's. */
export interface Complaint {
  readonly instancePath: string
  readonly keyword: string
  readonly message?: string
  readonly params: Readonly<Record<string, unknown>>
}

/** Words that only say that something below them has failed, which speaks for itself. */
const echoes: ReadonlySet<string> = new Set(['if', 'then', 'else', '$ref', 'propertyNames'])

/** More than anybody reads: saying each of a hundred thousand would take seconds. */
const mostDetails = 1_000

/** In the order they were found, each once, the first thousand. */
export function detailsOf(
  complaints: readonly Complaint[],
): readonly { readonly pointer: string; readonly detail: string }[] {
  const seen = new Set<string>()
  const details: { pointer: string; detail: string }[] = []
  for (const { instancePath: pointer, keyword, message = 'does not fit', params } of complaints) {
    if (details.length === mostDetails) break
    if (echoes.has(keyword)) continue
    const detail = (texts[keyword]?.(params) ?? message).slice(0, longestDetail)
    const key = `${pointer} ${detail}`
    if (seen.has(key)) continue
    seen.add(key)
    details.push({ pointer, detail })
  }
  return details
}

const longestDetail = 300

const texts: Readonly<Record<string, (params: Readonly<Record<string, unknown>>) => string>> = {
  required: ({ missingProperty }) => `must have the member ${JSON.stringify(missingProperty)}`,
  additionalProperties: ({ additionalProperty }) => `must not have the member ${JSON.stringify(additionalProperty)}`,
  unevaluatedProperties: ({ unevaluatedProperty }) => `must not have the member ${JSON.stringify(unevaluatedProperty)}`,
  enum: ({ allowedValues }) =>
    `must be one of ${(allowedValues as unknown[])
      .slice(0, longestDetail)
      .map((value) => JSON.stringify(value))
      .join(', ')}`,
  const: ({ allowedValue }) => `must be ${JSON.stringify(allowedValue)}`,
  uniqueItems: () => 'must not have the same item twice',
}
