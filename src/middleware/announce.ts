import type { StepContext } from './state.ts'

/** Set the lines that every answer carries on an answer that Koa writes; proxied answers get them in `forward`. */
export function announce({ state, res }: Pick<StepContext, 'state' | 'res'>): void {
  const { announced } = state
  if (!announced) return
  for (let index = 0; index < announced.length; index += 2) res.appendHeader(announced[index]!, announced[index + 1]!)
}
