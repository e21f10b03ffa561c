/**
 * What an operation wants of a request, in a form that crosses from the thread that reads documents to the one that
 * answers requests: how parameters are written, and the source of the functions that check values.
 */
export interface Contract {
  readonly parameters: readonly ParameterForm[]
  /**
   * Source of a function that checks all parameters at once, as an object by location and name. Texts become numbers
   * and booleans where the schema says so. Undefined when nothing needs to be checked.
   */
  readonly parametersCode: string | undefined
  readonly content: ContentForm | undefined
  /** What of it could not be made into a check, for the log. */
  readonly unchecked: readonly string[]
}

export type ParameterLocation = 'path' | 'query' | 'header' | 'cookie'

/** How a parameter is written (OpenAPI 3.1 §4.8.12.6). */
export interface ParameterForm {
  readonly name: string
  readonly in: ParameterLocation
  readonly required: boolean
  readonly style: string
  readonly explode: boolean
  /** `json`: the value is JSON text (a parameter with `content`). */
  readonly shape: 'text' | 'list' | 'text-or-list' | 'members' | 'json'
  /** Names of the members, for `members` that stand in the query as parameters of their own. */
  readonly members: readonly string[]
  /** An empty value needs no check. */
  readonly emptyAllowed: boolean
}

export interface ContentForm {
  readonly required: boolean
  readonly media: readonly MediaForm[]
}

export interface MediaForm {
  /** `application/json`, `text/*`, `*` + `/*`; in lower case and without parameters. */
  readonly range: string
  /** Source of a function that checks the value of a JSON body; undefined when there is nothing to check. */
  readonly code: string | undefined
}

/** Whether a media type, without its parameters and in lower case, says that the content is JSON (RFC 6839 §3.1). */
export const isJson = (essence: string): boolean =>
  /^(?:application\/json|[a-z0-9!#$&^_.+-]+\/[a-z0-9!#$&^_.+-]+\+json)$/.test(essence)
