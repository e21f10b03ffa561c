// The part of a document that is enough to resolve one of its operations.
//
// Swagger UI's resolver works through the whole document each time it is asked for one operation. Given only what that
// operation can reach it takes the same steps to the same result, in milliseconds. So nothing is resolved here: this
// file decides what to leave out, and leaves in whatever it is not sure of.

/**
 * Cuts slices out of an OpenAPI 3.1 document, which must not change meanwhile.
 *
 * The document is divided into entries: path items, webhooks, components. A slice has the entries that can be reached
 * from one place, in the document's order, and all that stands outside of entries but tags and extensions: these lead
 * nowhere, and whoever points into them is given the document itself.
 *
 * `lighten` makes an entry lighter by what its reader can do without: it is given the name of the entry's section and
 * the entry. What somebody points into stays whole, and so does what `allOf` merges.
 */
export function createSlicer(document, lighten = (_section, value) => value) {
  const components = Object.keys(document.components ?? {}).map((kind) => ['components', kind])
  const sections = new Map(
    [['paths'], ['webhooks'], ...components]
      .map((place) => [idOf(place), { place, entries: at(document, place) }])
      .filter(([, { entries }]) => isObject(entries)),
  )
  /** What stands outside of entries, without what no operation is resolved with. */
  const rest = Object.fromEntries(
    Object.entries(document).filter(([name]) => name !== 'tags' && !name.startsWith('x-')),
  )
  const light = new Map()
  const collected = new WeakMap()

  /** The entry that a place lies in. */
  function entryOf(place) {
    const depth = place[0] === 'components' ? 2 : 1
    const section = idOf(place.slice(0, depth))
    const name = place[depth]
    const entries = name === undefined ? undefined : sections.get(section)?.entries
    return entries && Object.hasOwn(entries, name) ? { section, name, value: entries[name] } : undefined
  }

  const entriesOf = (section) => {
    const entries = sections.get(section)?.entries ?? {}
    return Object.entries(entries).map(([name, value]) => ({ section, name, value }))
  }

  /** What a slice has of an entry. */
  function formOf({ section, name, value }, isWhole) {
    if (isWhole) return value
    const id = `${section} ${name}`
    if (!light.has(id)) light.set(id, lighten(sections.get(section).place.at(-1), value))
    return light.get(id)
  }

  /** What is named in an entry; looked for when the entry is first reached. */
  function namesIn(form) {
    if (!isObject(form)) return collect(form)
    if (!collected.has(form)) collected.set(form, collect(form))
    return collected.get(form)
  }

  /** The entries that have an identifier. A walk through everything; few documents need it. */
  const identified = once(() =>
    [...sections.keys()].flatMap(entriesOf).filter(({ value }) => namesIn(value).identifies),
  )

  /** The entries with an operation of this id. */
  const bearers = once(() => {
    const found = new Map()
    for (const [place, operationIds] of [
      [['paths'], pathItemIds],
      [['webhooks'], pathItemIds],
      [['components', 'pathItems'], pathItemIds],
      [['components', 'callbacks'], callbackIds],
    ]) {
      for (const entry of entriesOf(idOf(place))) {
        for (const id of operationIds(entry.value)) found.set(id, [...(found.get(id) ?? []), entry])
      }
    }
    return found
  })

  /**
   * The slice for a place such as `['paths', '/orders', 'get']`, with nothing lighter in it when it is to be whole; the
   * document itself where nothing can be left out.
   */
  return function slice(place, { whole = false } = {}) {
    const start = entryOf(place)
    const starts = start ? [start] : entriesOf(idOf(place))
    if (starts.length === 0) return document

    /** Of each section the names of what is reached, and whether that stays whole. */
    const reached = new Map([...sections.keys()].map((section) => [section, new Map()]))
    const pending = []
    const reach = (entry, isWhole) => {
      if (!entry) return
      const before = reached.get(entry.section).get(entry.name)
      if (before || before === isWhole) return
      reached.get(entry.section).set(entry.name, isWhole)
      pending.push({ entry, isWhole })
    }
    for (const entry of starts) reach(entry, whole)
    const operationIds = new Set()
    for (let next = pending.pop(); next; next = pending.pop()) {
      const names = namesIn(formOf(next.entry, next.isWhole))
      if (names.everything) return document
      for (const { steps, isWhole } of names.pointers) reach(entryOf(steps), next.isWhole || isWhole)
      if (names.identifiers) for (const entry of identified()) reach(entry, true)
      for (const operationId of names.operationIds) operationIds.add(operationId)
    }
    // The resolver makes operation ids unique and lets links follow. For that it needs to see who else bears an id, and
    // not what those operations refer to.
    for (const operationId of operationIds) {
      for (const { section, name } of bearers().get(operationId) ?? []) {
        const names = reached.get(section)
        if (!names.has(name)) names.set(name, whole)
      }
    }
    return cut(reached)
  }

  function cut(reached) {
    const slice = { ...rest }
    for (const [section, { place }] of sections) {
      const names = reached.get(section)
      const part = Object.fromEntries(
        entriesOf(section)
          .filter(({ name }) => names.has(name))
          .map((entry) => [entry.name, formOf(entry, names.get(entry.name))]),
      )
      const [root, kind] = place
      if (kind === undefined) slice[root] = part
      else slice.components = { ...slice.components, [kind]: part }
    }
    return slice
  }
}

/** Everything in a value that may lead elsewhere. */
function collect(value) {
  const names = { pointers: [], operationIds: [], identifiers: false, identifies: false, everything: false }
  const pending = isObject(value) ? [{ part: value, isMerged: false }] : []
  while (pending.length > 0) {
    const { part, isMerged } = pending.pop()
    // `allOf` merges what is in it with what is beside it, and with what is beside a reference to it.
    const merges = isMerged || Object.hasOwn(part, 'allOf') || Object.hasOwn(part, '$ref')
    for (const [key, member] of Object.entries(part)) {
      if (isObject(member)) pending.push({ part: member, isMerged: merges })
      if (typeof member !== 'string') continue
      // Also outside of `$ref`: a discriminator's mapping and a link name their targets in other members.
      const pointer = pointerIn(member)
      if (pointer) {
        const leadsInto = pointer.length > (pointer[0] === 'components' ? 3 : 2)
        names.pointers.push({ steps: pointer, isWhole: leadsInto || (key === '$ref' ? isMerged : merges) })
      }
      if (key === '$ref' || key === '$dynamicRef') {
        // What is no pointer is looked up by `$id`, `$anchor` and `$dynamicAnchor`, wherever these stand.
        if (!pointer) names.identifiers = true
        if (!pointer && /^#?$|#\//.test(member)) names.everything = true
      } else if (key === '$id') {
        names.identifiers = true
        names.identifies = true
      } else if (key === '$anchor' || key === '$dynamicAnchor') {
        names.identifies = true
      } else if (key === 'operationId') {
        names.operationIds.push(normalized(member))
      }
    }
  }
  return names
}

/** The steps of a JSON pointer (RFC 6901 §6) to or into an entry, whatever stands before the fragment. */
function pointerIn(text) {
  const fragment = /#\/((?:paths|webhooks|components\/[^/]+)\/.+)$/s.exec(text)
  if (!fragment) return undefined
  try {
    const steps = decodeURIComponent(fragment[1]).split('/')
    return steps.map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'))
  } catch {
    return undefined
  }
}

const pathItemIds = (pathItem) =>
  Object.values(pathItem ?? {}).flatMap((operation) => {
    if (!isObject(operation)) return []
    const callbacks = isObject(operation.callbacks) ? Object.values(operation.callbacks) : []
    const own = typeof operation.operationId === 'string' ? [normalized(operation.operationId)] : []
    return [...own, ...callbacks.flatMap(callbackIds)]
  })

const callbackIds = (callback) =>
  isObject(callback) ? Object.values(callback).filter(isObject).flatMap(pathItemIds) : []

/** The form in which the resolver compares operation ids. */
const normalized = (operationId) => operationId.replace(/\s/g, '').replace(/\W/g, '_')

const isObject = (value) => typeof value === 'object' && value !== null

const idOf = (place) => JSON.stringify(place)

function at(value, place) {
  for (const step of place) value = isObject(value) && Object.hasOwn(value, step) ? value[step] : undefined
  return value
}

function once(make) {
  let made
  return () => {
    made ??= make()
    return made
  }
}
