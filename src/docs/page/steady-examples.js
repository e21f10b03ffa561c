/**
 * A plug-in for Swagger UI that makes and colours an example once.
 *
 * An open operation is drawn again at each change of the page's state: three times while it opens, and once for each
 * character that a person types into it. Swagger UI then makes an example of every answer anew, often another one, with
 * the time of day in it, and of each word an element; of Kubernetes' deployments that is thirty thousand elements.
 */
export function steadyExamples() {
  return ({ React: { createElement, useMemo } }) => ({
    wrapComponents: {
      // What an answer shows depends on these and on what is chosen for it; what is inside of it looks after itself.
      response: (Original) =>
        function Response(props) {
          const { path, method, code, response, className, contentType, controlsAcceptHeader } = props
          const { activeExamplesKey, onContentTypeChange, oas3Selectors } = props
          const chosen = oas3Selectors.responseCodeContentType(path, method, code)
          return useMemo(
            () => createElement(Original, props),
            [
              path,
              method,
              code,
              response,
              className,
              contentType,
              controlsAcceptHeader,
              activeExamplesKey,
              onContentTypeChange,
              chosen,
            ],
          )
        },
      SyntaxHighlighter: (Original, { getConfigs }) =>
        function SyntaxHighlighter(props) {
          const { children, language, className } = props
          const { syntaxHighlight } = getConfigs()
          return useMemo(() => createElement(Original, props), [children, language, className, syntaxHighlight])
        },
    },
  })
}
