// Makes documents of many megabytes quick to open and to read. See docs/decisions for the numbers, and for why the page
// shows the same as without this.

import { createPlainSchemas } from './plain-schemas.js'
import { createSlicer } from './slices.js'

/** What the list of operations shows of each; the rest is resolved when a person opens it. */
const listed = new Set(['tags', 'summary', 'deprecated', 'operationId', 'security'])
const methods = new Set(['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'])
const schemasPath = ['components', 'schemas']

/**
 * A plug-in for Swagger UI that
 *
 * 1. reads JSON as JSON, where Swagger UI reads it as YAML;
 * 2. gives the page's state an outline of the document instead of the document;
 * 3. hands Swagger UI's own resolver a slice of the document instead of the document, and only schemas that need it;
 * 4. leaves what was resolved before as it is when another operation is opened.
 */
export function largeDocuments() {
  return ({ fn: { resolveSubtree }, Im }) => {
    /** The document that is shown, and how to resolve places in it. */
    let shown
    const toOrdered = (value) =>
      Im.fromJS(value, (_key, part) => (Im.isKeyed(part) ? part.toOrderedMap() : part.toList()))
    const areSchemasOpen = ({ layoutSelectors }) => layoutSelectors.isShown(schemasPath, false)

    return {
      fn: {
        resolveSubtree: (outline, place, options) =>
          shown ? shown.resolve(place, options) : resolveSubtree(outline, place, options),
      },
      statePlugins: {
        spec: {
          actions: { fillInSchemas: (schemas) => ({ type: 'sallyport_fill_in_schemas', payload: schemas }) },
          reducers: {
            sallyport_fill_in_schemas: (state, { payload }) =>
              state.setIn(['json', ...schemasPath], toOrdered(payload)),
          },
          wrapSelectors: {
            // Swagger UI makes plain objects of all that was resolved, puts one place more into them, and makes its state
            // of these again; it takes state for state, so operations can stay as they are.
            specResolvedSubtree: (original) => (_state, place) => {
              const found = original(place)
              return place.length === 0 && Im.isMap(found) ? { toJS: () => toPlain(found, 3) } : found
            },
          },
          wrapActions: {
            parseToJson:
              (original, { specActions, errActions }) =>
              (text) => {
                let document
                try {
                  document = JSON.parse(text)
                } catch {
                  return original(text)
                }
                errActions.clear({ source: 'parser' })
                return specActions.updateJsonSpec(document)
              },
            updateJsonSpec: (original, system) => (document) => {
              shown = undefined
              if (!/^3\.1\./.test(document?.openapi)) return original(document)
              shown = { document, resolve: createResolver(document, resolveSubtree, Im) }
              return original(outlineOf(document, areSchemasOpen(system)))
            },
          },
        },
        layout: {
          wrapActions: {
            // The section of schemas at the foot of the page shows them as they are written, so it wants them whole.
            show:
              (original, { specActions, ...system }) =>
              (thing, isShown) => {
                const opens = isShown !== false && String(thing) === String(schemasPath)
                if (opens && shown && !areSchemasOpen(system))
                  specActions.fillInSchemas(shown.document.components.schemas)
                return original(thing, isShown)
              },
          },
        },
      },
    }
  }
}

/**
 * Resolves places of a document, which must not change meanwhile, to what Swagger UI's `resolveSubtree` makes of them:
 * as a part of the page's state where the place is an operation, and as a plain object where it is not.
 */
export function createResolver(document, resolveSubtree, Im) {
  const { lighten, restore } = createPlainSchemas(document, Im)
  const slice = createSlicer(document, lighten)
  return async function resolve(place, options) {
    if (place.length === 3 && place[0] !== 'components') {
      const { spec, errors } = await resolveSubtree(once(slice(place)), place, options)
      // Mistakes name places, so these must be there.
      if (errors.length === 0) return { spec: restore(spec, options.baseDoc), errors }
    }
    return resolveSubtree(once(slice(place, { whole: true })), place, options)
  }

  /** Keeps Swagger UI from normalizing a slice before it resolves it, the result of which it does not use. */
  function once(part) {
    return part === document ? part : Object.defineProperty(part, '$$normalized', { value: true })
  }
}

/** A map of the page's state as an object, and maps in it so deep. */
const toPlain = (map, depth) =>
  depth > 0 && typeof map?.toObject === 'function' ? mapValues(map.toObject(), (part) => toPlain(part, depth - 1)) : map

/**
 * The document as far as the page shows it while every operation is closed: who reads the state reads names, tags,
 * summaries and security from it, and parameters, bodies and responses from what was resolved.
 */
function outlineOf(document, withSchemas) {
  const { paths, webhooks, components } = document
  return {
    ...document,
    ...(paths && { paths: mapValues(paths, outlineOfPathItem) }),
    ...(webhooks && { webhooks: mapValues(webhooks, outlineOfPathItem) }),
    ...(components && {
      components: {
        ...(components.securitySchemes && { securitySchemes: components.securitySchemes }),
        ...(components.schemas && {
          schemas: withSchemas ? components.schemas : mapValues(components.schemas, () => ({})),
        }),
      },
    }),
  }
}

const outlineOfPathItem = (pathItem) =>
  mapValues(pathItem, (member, name) =>
    methods.has(name) ? Object.fromEntries(Object.entries(member).filter(([key]) => listed.has(key))) : member,
  )

const mapValues = (object, change) =>
  Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value, name)]))
