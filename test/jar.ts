import { request } from 'undici'

export interface JarAnswer {
  readonly status: number
  readonly location: string | undefined
  readonly setCookies: readonly string[]
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: answers of many shapes; each test names the members it reads
  readonly json: any
}

export interface JarRequest {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly form?: Readonly<Record<string, string>>
}

/** A browser as far as cookies go: keeps them, sends them back, and obeys Max-Age=0. Follows nothing by itself. */
export class Jar {
  readonly cookies = new Map<string, string>()
  /** What the gateway calls itself, and where it is. */
  readonly #origin: string
  readonly #address: string

  constructor(origin: string, address: string) {
    this.#origin = origin
    this.#address = address
  }

  /** Another browser with the same cookies. */
  copy(): Jar {
    const other = new Jar(this.#origin, this.#address)
    for (const [name, value] of this.cookies) other.cookies.set(name, value)
    return other
  }

  async send(target: string, { method = 'GET', headers = {}, form }: JarRequest = {}): Promise<JarAnswer> {
    const path = target.startsWith(this.#origin) ? target.slice(this.#origin.length) : target
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const answer = await request(this.#address + path, {
      method: method as 'GET',
      headers: {
        ...(cookie !== '' && { cookie }),
        ...(form && { 'content-type': 'application/x-www-form-urlencoded' }),
        ...headers,
      },
      ...(form && { body: new URLSearchParams(form).toString() }),
    })
    const setCookies = [answer.headers['set-cookie'] ?? []].flat()
    for (const line of setCookies) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? []
      if (/;\s*(?:max-age=0|expires=Thu, 01 Jan 1970)/i.test(line)) this.cookies.delete(name)
      else this.cookies.set(name, value)
    }
    const text = await answer.body.text()
    const location = answer.headers['location']
    return {
      status: answer.statusCode,
      location: typeof location === 'string' ? location : undefined,
      setCookies,
      headers: answer.headers,
      text,
      get json() {
        return JSON.parse(text)
      },
    }
  }

  /** Sign in at the embedded issuer, page by page, from an address that leads there; the answer of the callback. */
  async signIn(username: string, password: string, start = '/login'): Promise<JarAnswer> {
    let answer = await this.send(await this.untilCallback(username, password, start))
    if (answer.status === 303 && answer.location?.includes('/login/callback')) answer = await this.send(answer.location)
    return answer
  }

  /** The same up to the address of the callback, which is not asked for. */
  async untilCallback(username: string, password: string, start = '/login'): Promise<string> {
    let target = start
    for (let hops = 0; hops < 10; hops += 1) {
      const answer = await this.send(target)
      if (answer.location === undefined) {
        const action = /<form[^>]* action="([^"]+)"/.exec(answer.text)?.[1]
        const csrf = /name="csrf" value="([^"]+)"/.exec(answer.text)?.[1]
        if (!action || !csrf) throw new Error(`no sign-in page but ${answer.status} ${answer.text}`)
        const sent = await this.send(action, { method: 'POST', form: { csrf, username, password } })
        if (!sent.location) throw new Error(`not signed in: ${sent.status} ${sent.text}`)
        target = sent.location
      } else target = answer.location
      if (new URL(target, this.#origin).pathname === '/login/callback') return target
    }
    throw new Error('sent round in circles')
  }
}
