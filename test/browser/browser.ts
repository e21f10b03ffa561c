import assert from 'node:assert/strict'
import { type Browser, type BrowserContext, chromium, type Locator, type Page } from 'playwright-core'
import { chromiumPath } from '../requirements.ts'

/** A headless Chromium of the system with an empty profile; closes itself with `await using`. */
export async function launchBrowser(): Promise<Browser & AsyncDisposable> {
  const executablePath = chromiumPath()
  if (!executablePath) throw new Error('chromium is not installed')
  return chromium.launch({
    executablePath,
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}

/** What a documentation page must never give cause for; empty lists when all is well. */
export interface Trouble {
  /** Errors of the console and exceptions nobody caught. Refused API calls (401 and the like) are not among them. */
  readonly errors: string[]
  /** Reports of the Content-Security-Policy: the directive and what it blocked. */
  readonly violations: string[]
  /** Requests to an origin that is not allowed. */
  readonly foreign: string[]
  /** `alert()` and its like: somebody's script ran. */
  readonly dialogs: string[]
}

export const noTrouble: Trouble = { errors: [], violations: [], foreign: [], dialogs: [] }

/** Watch every page of a context, pop-ups included. `origins` are the ones that may be asked for something. */
export async function watch(context: BrowserContext, origins: readonly string[]): Promise<Trouble> {
  const trouble: Trouble = { errors: [], violations: [], foreign: [], dialogs: [] }
  await context.exposeBinding('reportViolation', (_source, text: string) => {
    trouble.violations.push(text)
  })
  await context.addInitScript(`addEventListener('securitypolicyviolation', (event) =>
    globalThis.reportViolation(event.effectiveDirective + ' ' + event.blockedURI))`)
  context.on('request', (request) => {
    const url = new URL(request.url())
    if (/^https?:$/.test(url.protocol) && !origins.includes(url.origin)) trouble.foreign.push(request.url())
  })
  context.on('weberror', (error) => trouble.errors.push(String(error.error())))
  context.on('dialog', (dialog) => {
    trouble.dialogs.push(dialog.message())
    void dialog.dismiss()
  })
  context.on('console', (message) => {
    if (message.type() !== 'error') return
    const { url } = message.location()
    const refusedCall = /^Failed to load resource: the server responded with a status of 4\d\d/.test(message.text())
    if (refusedCall && !new URL(url).pathname.startsWith('/docs')) return
    trouble.errors.push(`${message.text()} (${url})`)
  })
  return trouble
}

export interface DocsOptions {
  /** Origins besides the page's own that may be asked, such as an authorization server's. */
  readonly origins?: readonly string[]
  readonly colorScheme?: 'light' | 'dark'
}

export interface OpenDocs {
  readonly page: Page
  readonly trouble: Trouble
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** Open a documentation page in a profile of its own and wait until its operations are listed. */
export async function openDocs(browser: Browser, url: string, options: DocsOptions = {}): Promise<OpenDocs> {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    colorScheme: options.colorScheme ?? 'light',
  })
  context.setDefaultTimeout(30_000)
  const trouble = await watch(context, [new URL(url).origin, ...(options.origins ?? [])])
  const page = await context.newPage()
  await page.goto(url)
  await page.locator('.opblock-tag').first().waitFor()
  const close = () => context.close()
  return { page, trouble, close, [Symbol.asyncDispose]: close }
}

/** Choose a document of the drop-down by its name and wait until it is the one that is shown. Titles must differ. */
export async function chooseDocument(page: Page, name: string): Promise<void> {
  const title = page.locator('.info .title')
  const before = (await title.textContent()) ?? ''
  await page.locator('.topbar select').selectOption({ label: name })
  await title.filter({ hasNotText: before }).waitFor()
  await page.locator('.opblock-tag').first().waitFor()
}

/** What a person types into the Authorize dialog. */
export type Credential =
  /** `http` bearer and `apiKey`: one value. */
  | { readonly value: string }
  | {
      readonly flow: 'password'
      readonly username: string
      readonly password: string
      readonly scopes?: readonly string[]
    }
  | {
      readonly flow: 'clientCredentials'
      readonly clientId: string
      readonly clientSecret: string
      readonly scopes?: readonly string[]
    }
  /** `signIn` fills in the authorization server's page in the pop-up. */
  | {
      readonly flow: 'authorizationCode'
      readonly signIn: (popup: Page) => Promise<void>
      readonly scopes?: readonly string[]
    }

/** Authorize one scheme through the dialog, as a person does. Fails with what the dialog says when it is refused. */
export async function authorize(page: Page, scheme: string, credential: Credential): Promise<void> {
  const form = await openDialog(page, scheme, 'flow' in credential ? credential.flow : undefined)
  if ('value' in credential) {
    await form.locator('input[type=text], input[type=password]').fill(credential.value)
    await form.getByRole('button', { name: 'Apply credentials' }).click()
  } else {
    for (const scope of credential.scopes ?? []) {
      if (await form.locator(`.checkbox input[data-value="${scope}"]`).isChecked()) continue
      await form.locator(`.checkbox label[for^="${scope}-${credential.flow}-checkbox"]`).click()
    }
    const submit = form.getByRole('button', { name: 'Apply given OAuth2 credentials' })
    if (credential.flow === 'authorizationCode') {
      const [popup] = await Promise.all([page.waitForEvent('popup'), submit.click()])
      await credential.signIn(popup)
      if (!popup.isClosed()) await popup.waitForEvent('close')
    } else {
      if (credential.flow === 'password') {
        await form.locator('input[data-name=username]').fill(credential.username)
        await form.locator('input[data-name=password]').fill(credential.password)
      } else {
        await form.locator('input[data-name=clientId]').fill(credential.clientId)
        await form.locator('input[data-name=clientSecret]').fill(credential.clientSecret)
      }
      await submit.click()
    }
  }
  const done = form.getByRole('button', { name: 'Remove authorization' })
  const refused = form.locator('.errors')
  await done.or(refused).first().waitFor()
  if (await refused.isVisible()) assert.fail(`the dialog refuses ${scheme}: ${await refused.textContent()}`)
  await closeDialog(page)
}

/** Take one scheme back through the dialog. */
export async function logout(page: Page, scheme: string, flow?: string): Promise<void> {
  const form = await openDialog(page, scheme, flow)
  await form.getByRole('button', { name: 'Remove authorization' }).click()
  await form.getByRole('button', { name: /^Apply/ }).waitFor()
  await closeDialog(page)
}

/** The names of the schemes that the Authorize dialog offers, in its order, once each. */
export async function offeredSchemes(page: Page): Promise<string[]> {
  await page.locator('.auth-wrapper .btn.authorize').first().click()
  const headings = await page.locator('.dialog-ux .auth-container h4').allInnerTexts()
  await closeDialog(page)
  return [...new Set(headings.map((heading) => heading.split(/\s/)[0]!))]
}

export async function openDialog(page: Page, scheme: string, flow?: string): Promise<Locator> {
  await page.locator('.auth-wrapper .btn.authorize').first().click()
  const heading = new RegExp(`^\\s*${literal(scheme)}\\s*\\(${flow ? `OAuth2, ${flow}` : ''}`)
  const form = page
    .locator('.dialog-ux .auth-container')
    .filter({ has: page.locator('h4').filter({ hasText: heading }) })
  await form.waitFor()
  return form
}

export async function closeDialog(page: Page): Promise<void> {
  await page.locator('.dialog-ux .close-modal').click()
  await page.locator('.dialog-ux').waitFor({ state: 'detached' })
}

export interface Executed {
  readonly status: number
  readonly body: string
  /** The header fields that were on the wire, names in lower case. */
  readonly sent: Readonly<Record<string, string>>
  /** The request target as it was sent. */
  readonly url: string
  /** What the page offers to copy. */
  readonly curl: string
}

/** Open an operation, fill in its parameters by name, press Execute. */
export async function execute(
  page: Page,
  operationId: string,
  parameters: Readonly<Record<string, string>> = {},
): Promise<Executed> {
  const operation = await openOperation(page, operationId)
  for (const [name, value] of Object.entries(parameters)) {
    await operation.locator(`tr[data-param-name="${name}"] input`).fill(value)
  }
  const [response] = await Promise.all([
    page.waitForResponse((candidate) => candidate.request().resourceType() === 'fetch'),
    operation.getByRole('button', { name: 'Execute' }).click(),
  ])
  const live = operation.locator('.live-responses-table')
  await live.filter({ hasText: String(response.status()) }).waitFor()
  return {
    status: response.status(),
    body: await response.text(),
    sent: await response.request().allHeaders(),
    url: response.request().url(),
    curl: (await operation.locator('.curl-command .curl').textContent()) ?? '',
  }
}

/** Make an operation visible, whatever is folded; returns its block. */
export async function openOperation(page: Page, operationId: string): Promise<Locator> {
  const operation = page.locator(`.opblock[id$="-${operationId}"]`)
  const folded = page.locator('.opblock-tag[data-is-open=false]')
  while ((await operation.count()) === 0 && (await folded.count()) > 0) {
    const tag = await folded.first().getAttribute('data-tag')
    await folded.first().click()
    await page.locator(`.opblock-tag[data-tag="${tag}"][data-is-open=true]`).waitFor()
  }
  await operation.waitFor()
  if (!(await operation.evaluate((element) => element.classList.contains('is-open')))) {
    await operation.locator('.opblock-summary-control').click()
  }
  await operation.getByRole('button', { name: 'Execute' }).waitFor()
  return operation
}

function literal(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}
