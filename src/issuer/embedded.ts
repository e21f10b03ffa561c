import { defineKind } from '../kind.ts'
import type { IssuerTools } from './issuer.ts'
import { embeddedSettings } from './settings.ts'

/** The gateway as its own OpenID provider. What it is made of is read where one is declared: it is a third of the start. */
export const embedded = defineKind({
  type: 'embedded',
  settings: embeddedSettings,
  create: async (settings, tools: IssuerTools) => (await import('./issuer.ts')).createIssuer(settings, tools),
})
