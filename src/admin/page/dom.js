/** The element of an id, which index.html has. */
export const byId = (id) => document.getElementById(id)

/** An element with attributes, then text and further elements; undefined and false leave one out. Text is never read as markup. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name)
  for (const [attribute, value] of Object.entries(attributes))
    if (value !== undefined) made.setAttribute(attribute, value)
  made.append(...children.flat().filter((child) => child !== undefined && child !== false))
  return made
}

/** Ask the admin port. Rejects with what its problem says. */
export async function ask(path, body) {
  const answer = await fetch(path, {
    ...(body !== undefined && {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    }),
  })
  const content = await answer.json()
  if (!answer.ok) throw new Error(content.detail ?? content.title ?? String(answer.status))
  return content
}
