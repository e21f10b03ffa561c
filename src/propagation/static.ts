import { z } from 'zod'
import { defineKind } from '../kind.ts'
import type { Propagator } from './propagator.ts'

const fieldName = /^[!#$%&'*+.^`|~0-9A-Za-z-]+$/
const fieldValue = /^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/

/** The service gets one credential of its own, the same for every caller: a third party's API, say. */
export const fixed = defineKind({
  type: 'static',
  settings: z.strictObject({
    header: z
      .string()
      .regex(fieldName, 'a header field name is a token without "_", such as "Authorization" (RFC 9110 §5.1)')
      .default('Authorization')
      .describe('The header field that carries the credential. Default: Authorization.'),
    value: z
      .string()
      .regex(fieldValue, 'a header field value is visible ASCII on one line (RFC 9110 §5.5)')
      .describe('The whole field value, such as "Bearer ${PARTNER_TOKEN}". Keep the secret in the environment.'),
  }),
  create({ header, value }): Propagator {
    const lines = Object.freeze([header, value])
    return { mode: 'static', unchecked: false, fields: () => lines }
  },
})
