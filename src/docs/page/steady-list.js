// Keeps the list of operations as it is while one of them is opened.
//
// Swagger UI draws every operation that is listed anew, folded or not, at each change of the page's state, and opening
// one changes it three times: of GitHub's document that is each time five thousand components, most of them webhooks.

/**
 * A plug-in for Swagger UI with which a folded operation is drawn again when something that it shows changes, and an open
 * one at every change, as ever: what is inside of it reads from all of the state.
 */
export function steadyList() {
  return ({ React: { Component, createElement, useMemo } }) => {
    /** For what shows nothing of the state, and stands on every operation that is listed. */
    const withoutState = (Original) =>
      class extends Component {
        static displayName = Original.displayName ?? Original.name

        mapStateToProps() {
          return {}
        }

        render() {
          return createElement(Original, this.props)
        }
      }
    return {
      statePlugins: { spec: { wrapSelectors: { taggedOperations: keepTagged() } } },
      wrapComponents: {
        CopyToClipboardBtn: withoutState,
        JumpToPath: withoutState,
        Webhooks: (Original) =>
          function Webhooks(props) {
            const operations = props.specSelectors.selectWebhooksOperations()
            return useMemo(() => createElement(Original, props), [operations])
          },
        OperationContainer: (Original) =>
          class extends Original {
            // Swagger UI names a component that cannot be drawn.
            static displayName = Original.displayName ?? Original.name

            mapStateToProps(state, props) {
              const shown = super.mapStateToProps(state, props)
              return shown.isShown ? { ...shown, state } : shown
            }
          },
      },
    }
  }
}

/**
 * The operations by tag, put together once for a document and a filter. Swagger UI does it anew also when an operation
 * has been resolved, which changes nothing of what is listed.
 */
function keepTagged() {
  // Swagger UI asks for the wrapper at each call, so what is kept stands outside of it.
  let kept = {}
  return (original, { specSelectors, layoutSelectors }) =>
    () => {
      const [document, filter] = [specSelectors.specJson(), layoutSelectors.currentFilter()]
      if (kept.document !== document || kept.filter !== filter) kept = { document, filter, tagged: original() }
      return kept.tagged
    }
}
