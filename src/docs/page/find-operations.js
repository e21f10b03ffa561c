/** The id as it is written; an operation that was opened has another one beside it, made by the resolver. */
export const operationIdOf = (operation) =>
  operation.getIn(['operation', '__originalOperationId']) ?? operation.getIn(['operation', 'operationId'])

/** What the filter looks through, beside the tag. */
const searched = (operation) => [
  operation.get('method'),
  operation.get('path'),
  operationIdOf(operation),
  operation.getIn(['operation', 'summary']),
]

const isOn = (filter) => typeof filter === 'string' && filter.trim() !== ''

/**
 * A filter that finds operations by path, method, operation id, summary and tag, where Swagger UI's looks at path and
 * tag alone. Each word must be found, in whichever of them. What is found is unfolded.
 */
export function findOperations() {
  return ({ React }) => ({
    fn: { opsFilter },
    statePlugins: {
      layout: {
        reducers: {
          sallyport_unfold_tags: (state) =>
            state.update('shown', (shown) =>
              shown?.filterNot((open, thing) => !open && thing.get(0) === 'operations-tag'),
            ),
        },
        actions: { unfoldTags: () => ({ type: 'sallyport_unfold_tags' }) },
        wrapActions: {
          updateFilter:
            (original, { layoutActions }) =>
            (filter) => {
              // What a person folded before shall not hide what is found now.
              if (isOn(filter)) layoutActions.unfoldTags()
              return original(filter)
            },
        },
        wrapSelectors: {
          isShown:
            (original, { layoutSelectors }) =>
            (_state, thing, otherwise) =>
              original(thing, otherwise || (thing?.[0] === 'operations-tag' && isOn(layoutSelectors.currentFilter()))),
        },
      },
    },
    wrapComponents: {
      FilterContainer: () => createFilterField(React),
      operations: (Original, { specSelectors, layoutSelectors }) =>
        function Operations(props) {
          const filter = layoutSelectors.currentFilter()
          // Swagger UI would say that the document has no operations.
          if (isOn(filter) && specSelectors.taggedOperations().size === 0) return null
          return React.createElement(Original, props)
        },
    },
  })
}

function opsFilter(taggedOperations, phrase) {
  const words = phrase.toLowerCase().split(/\s+/).filter(Boolean)
  const found = (tag) => (operation) => {
    const text = [tag, ...searched(operation)].join('\n').toLowerCase()
    return words.every((word) => text.includes(word))
  }
  return taggedOperations
    .map((group, tag) => group.update('operations', (operations) => operations.filter(found(tag))))
    .filterNot((group) => group.get('operations').isEmpty())
}

function createFilterField({ createElement, useEffect, useRef, useState }) {
  return function FilterField({ specSelectors, layoutSelectors, layoutActions }) {
    const filter = layoutSelectors.currentFilter()
    const current = typeof filter === 'string' ? filter : ''
    const [text, setText] = useState(current)
    const sent = useRef(current)
    useEffect(() => {
      // Somebody else has changed it, such as a link that leads to what is hidden. What was typed meanwhile stays.
      if (current === sent.current) return
      sent.current = current
      setText(current)
    }, [current])
    useEffect(() => {
      if (text === sent.current) return undefined
      const timer = setTimeout(() => {
        sent.current = text
        layoutActions.updateFilter(text)
      }, 250)
      return () => clearTimeout(timer)
    }, [text, layoutActions])

    return createElement(
      'div',
      { className: 'filter-container' },
      createElement(
        'section',
        { className: 'filter wrapper block col-12', role: 'search' },
        createElement('label', { htmlFor: 'filter-operations', className: 'unseen' }, 'Filter operations'),
        createElement('input', {
          id: 'filter-operations',
          className: 'operation-filter-input',
          type: 'search',
          placeholder: 'Filter by path, method, operation id, summary or tag',
          autoComplete: 'off',
          spellCheck: false,
          'aria-controls': 'operations',
          value: text,
          onChange: ({ target }) => setText(target.value),
        }),
        createElement(
          'p',
          { role: 'status', className: 'found' },
          isOn(current) && said(specSelectors.taggedOperations()),
        ),
      ),
    )
  }
}

function said(taggedOperations) {
  const found = new Set()
  for (const group of taggedOperations.values())
    for (const operation of group.get('operations')) found.add(operation.get('id'))
  if (found.size === 0) return 'No operation has all of these words.'
  return found.size === 1 ? '1 operation' : `${found.size} operations`
}
