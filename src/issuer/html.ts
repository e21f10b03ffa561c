/** A piece of HTML; only `html` makes it. */
export class Html {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

type Value = string | Html | undefined | false | readonly Html[]

/** Every value is escaped unless it is HTML itself, so that a client's name or an error stays text. */
export function html(parts: TemplateStringsArray, ...values: readonly Value[]): Html {
  return new Html(String.raw({ raw: parts }, ...values.map(textOf)))
}

/** For HTML that oidc-provider has made. */
export function trusted(text: string): Html {
  return new Html(text)
}

function textOf(value: Value): string {
  if (value === undefined || value === false) return ''
  if (typeof value === 'string') return value.replace(/[&<>"']/g, (character) => entities[character]!)
  if (value instanceof Html) return value.text
  return value.map(textOf).join('')
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
