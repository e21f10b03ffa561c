// A schema that an operation names several times, resolved once.
//
// Swagger UI's resolver works a schema out wherever it is named, and creating and replacing things often names one for
// the body and for each answer: of Kubernetes' deployments that is four times forty thousand members.

const placeholder = 'x-sallyport-repeated'

/**
 * Swagger UI's `resolveSubtree`, or one that is called as it is, with less to do and the same result: where a media type
 * of an operation has nothing but a reference for its schema, and one before it has the same, what that came to is put
 * in. No other schema is around either of them, so it is the same.
 */
export function withoutRepeats(resolveSubtree) {
  return async function resolveOnce(document, place, options) {
    const { shorter, repeats } = shorten(document, place)
    if (repeats.length === 0) return resolveSubtree(document, place, options)
    const result = await resolveSubtree(shorter, place, options)
    // Each place has its own mistakes.
    if (result.errors.length > 0) return resolveSubtree(document, place, options)
    for (const { from, to } of repeats) {
      const [source, target] = [mediaAt(result.spec, from), mediaAt(result.spec, to)]
      if (!source || target?.schema?.[placeholder] !== true) return resolveSubtree(document, place, options)
      target.schema = source.schema
    }
    return result
  }
}

function shorten(document, place) {
  const [root, name, method] = place
  const nothing = { shorter: document, repeats: [] }
  if (place.length !== 3 || (root !== 'paths' && root !== 'webhooks')) return nothing
  const operation = document[root]?.[name]?.[method]
  if (!isObject(operation)) return nothing
  const first = new Map()
  const repeats = []
  const shortened = structuredClone(operation)
  for (const way of mediaIn(operation)) {
    const { schema } = mediaAt(operation, way)
    if (!isObject(schema) || typeof schema.$ref !== 'string' || Object.keys(schema).length !== 1) continue
    const from = first.get(schema.$ref)
    if (!from) {
      first.set(schema.$ref, way)
      continue
    }
    repeats.push({ from, to: way })
    mediaAt(shortened, way).schema = { [placeholder]: true }
  }
  const item = { ...document[root][name], [method]: shortened }
  return { shorter: { ...document, [root]: { ...document[root], [name]: item } }, repeats }
}

/** The ways to the media types of an operation that are written in it, in its order. */
function mediaIn(operation) {
  const inContent = (holder, way) =>
    isObject(holder) && isObject(holder.content) && holder.$ref === undefined
      ? Object.keys(holder.content)
          .filter((type) => isObject(holder.content[type]))
          .map((type) => [...way, 'content', type])
      : []
  const responses = isObject(operation.responses) ? Object.keys(operation.responses) : []
  return [
    ...inContent(operation.requestBody, ['requestBody']),
    ...responses.flatMap((code) => inContent(operation.responses[code], ['responses', code])),
  ]
}

const mediaAt = (operation, way) => way.reduce((value, step) => value?.[step], operation)
const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value)
