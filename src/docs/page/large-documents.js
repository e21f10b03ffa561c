// Makes documents of many megabytes quick to open and to read. See docs/decisions for the numbers, and for why the page
// shows the same as without this.

import { withoutRepeats } from './repeats.js'
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
 * 3. hands Swagger UI's own resolver a slice of the document instead of the document, and no schema twice.
 */
export function largeDocuments() {
  return ({ fn: { resolveSubtree }, Im }) => {
    const resolveOnce = withoutRepeats(resolveSubtree)
    /** The document that is shown, and how to cut it. */
    let shown
    const toOrdered = (value) =>
      Im.fromJS(value, (_key, part) => (Im.isKeyed(part) ? part.toOrderedMap() : part.toList()))
    const areSchemasOpen = ({ layoutSelectors }) => layoutSelectors.isShown(schemasPath, false)

    return {
      fn: {
        resolveSubtree: (outline, place, options) =>
          shown ? resolveOnce(shown.slice(place), place, options) : resolveSubtree(outline, place, options),
      },
      statePlugins: {
        spec: {
          actions: { fillInSchemas: (schemas) => ({ type: 'sallyport_fill_in_schemas', payload: schemas }) },
          reducers: {
            sallyport_fill_in_schemas: (state, { payload }) =>
              state.setIn(['json', ...schemasPath], toOrdered(payload)),
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
              shown = { document, slice: createSlicer(document) }
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
