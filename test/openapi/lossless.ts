import { isDeepStrictEqual } from 'node:util'
import { variablesOf } from '../../src/openapi/paths.ts'
import type { Loose } from './service.ts'

/**
 * Compares what a backend's document says of an operation with what the published one says, following references on
 * both sides. It shares no code with what it judges but the reading of path variables, and knows which differences
 * are meant: the words of 3.1, the gateway's names, and the removals that the documentation lists.
 *
 * Returns a line for each difference; none means that nothing was lost.
 */
export function differences(
  original: Loose,
  published: Loose,
  pair: {
    readonly before: Loose
    readonly after: Loose
    readonly item: Loose
    readonly key: string
    readonly shown: string
  },
): readonly string[] {
  const found: string[] = []
  const old = typeof original.openapi !== 'string' || original.openapi.startsWith('3.0')
  const swagger = original.swagger !== undefined
  const seen = new WeakMap<object, WeakSet<object>>()
  const lost = (way: string, before: unknown, after: unknown) => {
    found.push(`${way}: ${JSON.stringify(before)?.slice(0, 200)} became ${JSON.stringify(after)?.slice(0, 200)}`)
  }

  operation(pair.before, pair.after, '')
  return found

  function operation(before: Loose, after: Loose, way: string) {
    plain(before, after, ['summary', 'description', 'deprecated'], way)
    extensions(before, after, way)
    const shared = way === '' ? (pair.item.parameters ?? []) : []
    parameters([...shared, ...(before.parameters ?? [])], after, way)
    if (!swagger && before.requestBody) body(before.requestBody, after.requestBody, `${way}/requestBody`)
    for (const [code, response] of entries(before.responses)) {
      if (code.startsWith('x-') || resolve(original, response) === undefined) continue
      const key = code.toUpperCase().replace('DEFAULT', 'default')
      answer(response, after.responses?.[key], `${way}/responses/${code}`, before)
    }
    for (const [name, callback] of entries(before.callbacks)) {
      const [one, other] = [resolve(original, callback), resolve(published, after.callbacks?.[name])]
      for (const [expression, item] of entries(one)) {
        for (const method of methods) {
          const inner = resolve(original, item)?.[method]
          if (inner) operation(inner, other?.[expression]?.[method] ?? {}, `${way}/callbacks/${name}/${method}`)
        }
      }
    }
  }

  function parameters(list: readonly Loose[], after: Loose, way: string) {
    const identity = (one: Loose) => `${one.in} ${one.in === 'header' ? one.name.toLowerCase() : one.name}`
    const was = new Map<string, Loose>()
    const shared = list.length - (pair.before.parameters?.length ?? 0)
    // Of one name declared twice the first counts; the operation's word counts more than the path's.
    for (const entry of [
      ...list.slice(0, way === '' ? shared : 0),
      ...list.slice(way === '' ? shared : 0).toReversed(),
    ]) {
      const parameter = resolve(original, entry)
      if (!parameter?.name || !/^(query|header|path|cookie|body|formData)$/.test(parameter.in)) continue
      if (parameter.in === 'header' && /^(authorization|accept|content-type)$/i.test(parameter.name)) continue
      was.set(identity(parameter), parameter)
    }
    const is = new Map<string, Loose>()
    for (const entry of after.parameters ?? []) {
      const parameter = resolve(published, entry)
      is.set(identity(parameter), parameter)
    }
    const forms = [...was.values()].filter((one) => one.in === 'formData' || one.in === 'body')
    if (forms.length > 0) swaggerBody(forms, after, way)
    // A path that two templates name goes by the names of the first.
    const variables = variablesOf(pair.key)
    const shown = variables.length > 0 ? variablesOf(pair.shown).slice(-variables.length) : []
    for (const [key, parameter] of was) {
      if (forms.includes(parameter) || (parameter.in === 'path' && way === '' && !variables.includes(parameter.name)))
        continue
      const renamed =
        parameter.in === 'path' ? `path ${shown[variables.indexOf(parameter.name)] ?? parameter.name}` : key
      const other = is.get(renamed)
      if (!other) lost(`${way}/parameters/${key}`, parameter, undefined)
      else if (swagger) swaggerParameter(parameter, other, `${way}/parameters/${key}`)
      else
        value(
          parameter,
          other,
          `${way}/parameters/${key}`,
          parameter.in === 'path'
            ? ['in', 'description']
            : ['name', 'in', 'description', 'required', 'allowEmptyValue', 'explode', 'deprecated'],
        )
    }
  }

  /** Parameters, headers and media types: something with a schema, or content, and examples. */
  function value(before: Loose, after: Loose, way: string, fields: readonly string[]) {
    const [one, other] = [resolve(original, before), resolve(published, after)]
    if (one === undefined) return
    if (other === undefined) return lost(way, one, other)
    plain(one, other, fields, way)
    extensions(one, other, way)
    if (one.schema !== undefined) schema(one.schema, other.schema, `${way}/schema`)
    else if (one.content) return contents(one.content, other.content, `${way}/content`)
    if (one.example !== undefined && !one.examples) data(one.example, other.example, `${way}/example`)
    for (const [name, example] of entries(one.examples)) {
      const [was, is] = [resolve(original, example), resolve(published, other.examples?.[name])]
      if (was === undefined || typeof was !== 'object') continue
      if ('value' in was) data(was.value, is?.value, `${way}/examples/${name}`)
      else if ('dataValue' in was) data(was.dataValue, is?.value, `${way}/examples/${name}`)
      plain(was, is ?? {}, ['summary', 'description'], `${way}/examples/${name}`)
    }
  }

  function contents(before: Loose, after: Loose, way: string) {
    for (const [type, media] of entries(before)) {
      const one = resolve(original, media)
      const lifted = one?.itemSchema && !one.schema ? { ...one, schema: { type: 'array', items: one.itemSchema } } : one
      value(lifted, after?.[type], `${way}/${type}`, [])
      for (const [name, encoding] of entries(one?.encoding)) {
        plain(
          encoding as Loose,
          after?.[type]?.encoding?.[name] ?? {},
          ['contentType', 'explode'],
          `${way}/${type}/encoding/${name}`,
        )
      }
    }
  }

  function body(before: Loose, after: Loose, way: string) {
    const [one, other] = [resolve(original, before), resolve(published, after)]
    if (one === undefined) return
    if (other === undefined) return lost(way, one, other)
    plain(one, other, ['description', 'required'], way)
    contents(one.content, other.content, way)
  }

  function answer(before: Loose, after: Loose, way: string, owner: Loose) {
    const [one, other] = [resolve(original, before), resolve(published, after)]
    if (one === undefined || one === null) return
    if (other === undefined) return lost(way, one, other)
    if (one.description !== undefined && one.description !== other.description)
      lost(`${way}/description`, one.description, other.description)
    extensions(one, other, way)
    for (const [name, header] of entries(one.headers)) {
      if (swagger) swaggerParameter(header as Loose, other.headers?.[name] ?? {}, `${way}/headers/${name}`)
      else value(header, other.headers?.[name], `${way}/headers/${name}`, ['description', 'required', 'deprecated'])
    }
    if (swagger) {
      for (const type of owner.produces ?? original.produces ?? ['application/json']) {
        if (one.schema) schema(one.schema, other.content?.[type]?.schema, `${way}/schema`)
      }
    } else contents(one.content, other.content, `${way}/content`)
    for (const [name, link] of entries(one.links)) {
      const was = resolve(original, link)
      const is = resolve(published, other.links?.[name])
      if (was && !is && leads(was)) lost(`${way}/links/${name}`, was, is)
    }
  }

  function leads(link: Loose): boolean {
    if (link.operationRef) return resolve(original, { $ref: link.operationRef }) !== undefined
    return Object.values(original.paths).some((item: Loose) =>
      methods.some((method) => item[method]?.operationId === link.operationId),
    )
  }

  function swaggerParameter(before: Loose, after: Loose, way: string) {
    plain(before, after, ['description'], way)
    const keywords = [
      'type',
      'format',
      'items',
      'enum',
      'default',
      'minimum',
      'maximum',
      'pattern',
      'minLength',
      'maxLength',
      'uniqueItems',
      'x-nullable',
      'minItems',
      'maxItems',
    ]
    schema(
      Object.fromEntries(keywords.filter((word) => word in before).map((word) => [word, before[word]])),
      after.schema,
      `${way}/schema`,
    )
    if (before.required && !after.required) lost(`${way}/required`, true, after.required)
  }

  function swaggerBody(forms: readonly Loose[], after: Loose, way: string) {
    const made = resolve(published, after.requestBody)
    if (!made) return lost(`${way}/body`, forms, made)
    for (const form of forms) {
      for (const [type, media] of entries(made.content)) {
        if (form.in === 'body') schema(form.schema, (media as Loose).schema, `${way}/body/${type}`)
        else if (/form/.test(type) && !(media as Loose).schema.properties[form.name])
          lost(`${way}/form/${form.name}`, form, media)
      }
    }
  }

  function schema(before: Loose, after: Loose, way: string) {
    if (typeof before === 'boolean' || typeof after === 'boolean') {
      if (before !== after) lost(way, before, after)
      return
    }
    if (!isObject(before)) return
    if (!isObject(after)) return lost(way, before, after)
    const partners = seen.get(before) ?? new WeakSet()
    if (partners.has(after) || found.length > 50) return
    seen.set(before, partners.add(after))
    const one = canonical(before)
    if ('x-sallyport-unresolved' in after) {
      if (resolve(original, { $ref: one.$ref }) !== undefined) lost(way, one, after)
      return
    }
    if ('$ref' in one || '$ref' in after) {
      const [was, is] = [one.$ref && pointer(original, one.$ref), after.$ref && pointer(published, after.$ref)]
      if (one.$ref && after.$ref) schema(was, is, `${way}>`)
      else if (!before.$recursiveRef) lost(`${way}/$ref`, one.$ref, after.$ref)
    }
    for (const [keyword, was] of Object.entries<Loose>(one)) {
      const is = after[keyword]
      const here = `${way}/${keyword}`
      if (keyword === '$ref' || was === undefined || (keyword.startsWith('x-') && reserved.test(keyword))) continue
      if (maps.has(keyword) && isObject(was)) {
        for (const [name, part] of Object.entries(was))
          if (!Array.isArray(part))
            schema(part, isObject(is) && Object.hasOwn(is, name) ? is[name] : undefined, `${here}/${name}`)
      } else if (lists.has(keyword) && Array.isArray(was)) {
        for (const [index, part] of was.entries()) schema(part, is?.[index], `${here}/${index}`)
        if (was.length !== is?.length) lost(here, was.length, is?.length)
      } else if (singles.has(keyword) && (isObject(was) || typeof was === 'boolean')) schema(was, is, here)
      else if (keyword === 'discriminator') discriminator(was, is, here)
      else if (keyword === 'externalDocs') continue
      else if (keyword === 'type') {
        if (!isDeepStrictEqual(new Set([was].flat()), new Set([is].flat()))) lost(here, was, is)
      } else if (keyword === 'required') {
        if (Array.isArray(was) && !isDeepStrictEqual(new Set(was), new Set(is))) lost(here, was, is)
      } else if (keyword === 'examples') for (const [index, example] of was.entries()) data(example, is?.[index], here)
      else if (keyword === 'xml' || keyword === '$dynamicAnchor' || keyword === '$dynamicRef') {
        if (is === undefined) lost(here, was, is)
      } else if (!isDeepStrictEqual(was, is)) lost(here, was, is)
    }
    for (const keyword of Object.keys(after)) {
      if (!(keyword in one) && !['$ref', '$schema'].includes(keyword))
        lost(`${way}/${keyword}`, undefined, after[keyword])
    }
  }

  function discriminator(was: Loose, is: Loose, way: string) {
    if (was?.propertyName === undefined) return
    if (was.propertyName !== is?.propertyName) return lost(way, was, is)
    for (const [name, target] of entries(was.mapping)) {
      const named = original.components?.schemas?.[target as string] ?? resolve(original, { $ref: target })
      if (named === undefined) continue
      schema(named, resolve(published, { $ref: is.mapping?.[name] }), `${way}/mapping/${name}`)
    }
  }

  /** A schema of the original in the words of 3.1, one level deep. */
  function canonical(before: Loose): Loose {
    let one: Loose = { ...before }
    delete one.$id
    delete one.$anchor
    if (typeof one.$recursiveRef === 'string') return { ...one, $recursiveRef: undefined }
    if (swagger) {
      if ('x-nullable' in one) one.nullable = one['x-nullable']
      delete one['x-nullable']
      if (typeof one.discriminator === 'string') {
        one.required = [...new Set([...(one.required ?? []), one.discriminator])]
        one.discriminator = { propertyName: one.discriminator }
      }
      if (one.type === 'file') one = { ...one, type: 'string', format: 'binary' }
    }
    if (old && typeof one.$ref === 'string') {
      const words =
        /^(\$ref|title|description|default|deprecated|readOnly|writeOnly|examples?|externalDocs|nullable|xml|\$comment|x-.*)$/
      one = Object.fromEntries(Object.entries(one).filter(([word]) => words.test(word)))
    }
    if (old && 'example' in one) {
      one.examples = [one.example, ...(Array.isArray(one.examples) ? one.examples : [])]
      delete one.example
    }
    if ('examples' in one && !Array.isArray(one.examples)) {
      one.examples = isObject(one.examples)
        ? Object.values(one.examples).map((example: Loose) =>
            isObject(example) && 'value' in example ? example.value : example,
          )
        : [one.examples]
    }
    for (const [exclusive, bound] of [
      ['exclusiveMinimum', 'minimum'],
      ['exclusiveMaximum', 'maximum'],
    ] as const) {
      if (typeof one[exclusive] !== 'boolean') continue
      const strict = one[exclusive] && typeof one[bound] === 'number'
      delete one[exclusive]
      if (strict) {
        one[exclusive] = one[bound]
        delete one[bound]
      }
    }
    const nullable = one.nullable === true
    delete one.nullable
    const isNull = (arm: Loose) =>
      arm?.type === 'null' || (arm?.nullable === true && !('type' in arm || '$ref' in arm || 'enum' in arm))
    for (const word of ['anyOf', 'oneOf']) {
      if (Array.isArray(one[word]))
        one[word] = one[word]
          .map((arm: Loose) => (isNull(arm) ? { ...arm, nullable: undefined, type: 'null' } : arm))
          .map(({ nullable: _, ...arm }: Loose) => (_ === undefined ? arm : { nullable: _, ...arm }))
    }
    if (nullable && 'type' in one) one.type = [...new Set([one.type, 'null'].flat())]
    else if (nullable && (Array.isArray(one.anyOf) || Array.isArray(one.oneOf))) {
      const word = Array.isArray(one.anyOf) ? 'anyOf' : 'oneOf'
      if (!one[word].some(isNull)) one[word] = [...one[word], { type: 'null' }]
    } else if (nullable && '$ref' in one) {
      const { $ref, ...rest } = one
      one = { ...rest, anyOf: [{ $ref }, { type: 'null' }] }
    } else if (nullable && Array.isArray(one.allOf)) {
      const { allOf, ...rest } = one
      one = { ...rest, anyOf: [allOf.length === 1 ? allOf[0] : { allOf }, { type: 'null' }] }
    }
    if (old && [one.type].flat().includes('string')) {
      if (one.format === 'binary') {
        const { type: _, format: __, ...rest } = one
        one = { contentMediaType: 'application/octet-stream', ...rest }
      } else if (one.format === 'byte' || one.format === 'base64') {
        const { format: _, ...rest } = one
        one = { contentEncoding: 'base64', ...rest }
      }
    }
    if (Array.isArray(one.items) && !one.$schema) {
      one.prefixItems = one.items
      delete one.items
      if ('additionalItems' in one) one.items = one.additionalItems
      delete one.additionalItems
    }
    if (!Array.isArray(one.required)) delete one.required
    if (isObject(one.discriminator) && typeof one.discriminator.propertyName !== 'string') delete one.discriminator
    for (const [word, value] of Object.entries(one)) if (value === undefined) delete one[word]
    return one
  }

  function plain(before: Loose, after: Loose, fields: readonly string[], way: string) {
    for (const field of fields) {
      if (before[field] === undefined || before[field] === null) continue
      if (String(before[field]) !== String(after[field])) lost(`${way}/${field}`, before[field], after[field])
    }
  }

  function extensions(before: Loose, after: Loose, way: string) {
    for (const [name, value] of Object.entries(before)) {
      if (!name.startsWith('x-') || reserved.test(name) || /^x-(nullable|examples?)$/.test(name)) continue
      if (!isDeepStrictEqual(value, after[name])) lost(`${way}/${name}`, value, after[name])
    }
  }

  /** Data is the same, but for references to examples, which have become their values. */
  function data(before: Loose, after: Loose, way: string) {
    if (isDeepStrictEqual(before, after)) return
    if (isObject(before) && typeof before.$ref === 'string' && Object.keys(before).length === 1) {
      const example = resolve(original, before)
      if (example && 'value' in example) return data(example.value, after, `${way}>`)
    }
    if (typeof before === 'object' && before !== null && typeof after === 'object' && after !== null) {
      for (const [name, member] of Object.entries(before)) data(member, after[name], `${way}/${name}`)
      return
    }
    lost(way, before, after)
  }
}

export const methods = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'] as const

const maps = new Set(['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas', 'dependencies'])
const lists = new Set(['allOf', 'anyOf', 'oneOf', 'prefixItems'])
const singles = new Set([
  'items',
  'additionalItems',
  'additionalProperties',
  'not',
  'if',
  'then',
  'else',
  'contains',
  'propertyNames',
  'contentSchema',
  'unevaluatedItems',
  'unevaluatedProperties',
])
const reserved = /^x-(sallyport|gateway|kong|tyk|apisix|google|amazon-apigateway|azure-apim|upstream)(-|$)/i

const isObject = (value: unknown): value is Loose =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const entries = (value: unknown): readonly (readonly [string, unknown])[] =>
  isObject(value) ? Object.entries(value) : []

/** Follow local references to the end; undefined where they lead nowhere. */
export function resolve(root: Loose, node: Loose): Loose {
  let at = node
  for (let hops = 0; hops < 50 && isObject(at) && typeof at.$ref === 'string'; hops += 1) {
    const { $ref, ...siblings } = at
    const next = pointer(root, $ref)
    if (!isObject(next)) return next
    // Beside a reference, only words count.
    at =
      typeof siblings.description === 'string' && next.$ref === undefined
        ? { ...next, description: siblings.description }
        : next
  }
  return isObject(at) && typeof at.$ref === 'string' ? undefined : at
}

function pointer(root: Loose, reference: string): Loose {
  if (!reference.startsWith('#/')) return undefined
  let at = root
  for (const raw of reference.slice(2).split('/')) {
    if (isObject(at) && typeof at.$ref === 'string') at = resolve(root, at)
    let token = raw
    try {
      token = decodeURIComponent(raw)
    } catch {}
    token = token.replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, token)) return undefined
    at = at[token]
  }
  return at
}
