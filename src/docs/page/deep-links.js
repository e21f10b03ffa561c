import { operationIdOf } from './find-operations.js'

/**
 * Links to operations, `#/tag/operationId`.
 *
 * Swagger UI reads such a link once, when the page is loaded; it takes `_` for a written space, cannot read a tag with
 * `/` in it, and puts up to three entries into the history for each link. Here a link is also followed when it is put
 * into the address of an open page, or reached with the Back button, and when a filter hides where it leads.
 */
export function deepLinks() {
  return () => ({
    statePlugins: { layout: { wrapActions: { parseDeepLinkHash: (_original, system) => () => follow(system) } } },
    afterLoad(system) {
      addEventListener('hashchange', () => follow(system.getSystem()))
    },
  })
}

function follow({ getStore, layoutActions, layoutSelectors, specSelectors }) {
  const [tag, operationId] = stepsOf(location.hash)
  if (!tag) return
  const place = operationId ? ['operations', tag, operationId] : ['operations-tag', tag]

  const filter = layoutSelectors.currentFilter()
  if (typeof filter === 'string' && filter !== '' && !isListed(specSelectors.taggedOperations(), tag, operationId)) {
    layoutActions.updateFilter('')
  }
  // Not by `layoutActions.show`, which makes history.
  const show = (thing) => getStore().dispatch({ type: 'layout_show', payload: { thing, shown: true } })
  show(['operations-tag', tag])
  show(place)
  layoutActions.scrollTo(place)
  // Long lists only draw what is in view, so they are told where to go.
  layoutActions.scrollToVirtualizedOperation(place)
  setTimeout(() => document.getElementById(CSS.escape(place.join('-').replaceAll(' ', '_')))?.scrollIntoView())
}

function stepsOf(hash) {
  try {
    return hash
      .replace(/^#!?\/?/, '')
      .split('/')
      .map(decodeURIComponent)
  } catch {
    return []
  }
}

function isListed(taggedOperations, tag, operationId) {
  const group = taggedOperations.get(tag)
  if (!group || !operationId) return group !== undefined
  return group.get('operations').some((operation) => operationIdOf(operation) === operationId)
}
