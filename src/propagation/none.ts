import { z } from 'zod'
import { defineKind } from '../kind.ts'
import type { Propagator } from './propagator.ts'

/** The service gets no credential; the identity fields, where they are on, still say who calls. */
export const none = defineKind({
  type: 'none',
  settings: z.strictObject({}),
  create: (): Propagator => ({ mode: 'none', unchecked: false, fields: () => [] }),
})
