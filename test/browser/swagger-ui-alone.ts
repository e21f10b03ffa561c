import type { BrowserContext } from 'playwright-core'

/** What the files of src/docs/page that keep the list and examples as they are do to Swagger UI, undone. */
export const unsteady = {
  '**/docs/steady-list.js': 'export const steadyList = () => ({})',
  '**/docs/steady-examples.js': 'export const steadyExamples = () => ({})',
} as const

/** The same for all that makes large documents bearable: the page is then Swagger UI as it is shipped. */
export const swaggerUiAlone = {
  ...unsteady,
  '**/docs/large-documents.js': 'export const largeDocuments = () => ({})',
} as const

/** Pages of the context get these texts for scripts of these addresses. */
export async function replaceScripts(
  context: BrowserContext,
  replaced: Readonly<Record<string, string>>,
): Promise<void> {
  for (const [path, body] of Object.entries(replaced))
    await context.route(path, (route) => route.fulfill({ contentType: 'text/javascript', body }))
}
