import type { Change, MatrixRow, Persona, Reach } from '../gateway/matrix.ts'
import { tableOf } from './table.ts'

/** The matrix for a terminal. Where every method fares alike at a path of which no document speaks, they are one line. */
export function formatMatrix(rows: readonly MatrixRow[], personas: readonly Persona[]): string {
  return tableOf([
    ['METHOD', 'PATH', ...personas.map(({ name }) => name)],
    ...joined(rows).map(({ method, template, documented, reach }) => [
      method,
      `${template}${documented ? '' : ' (undocumented)'}`,
      ...reach.map(textOf),
    ]),
  ])
}

/** The same for a pull request. */
export function formatMarkdown(rows: readonly MatrixRow[], personas: readonly Persona[]): string {
  return table(
    ['Operation', ...personas.map(({ name }) => name)],
    joined(rows).map(({ method, template, documented, reach }) => [
      `\`${method} ${template}\`${documented ? '' : ' (undocumented)'}`,
      ...reach.map((one) => (one.verdict === 'allow' ? `**${textOf(one)}**` : textOf(one))),
    ]),
  )
}

interface Changes {
  readonly reachable: readonly Change[]
  readonly unreachable: readonly Change[]
}

export function formatChanges({ reachable, unreachable }: Changes, format: 'text' | 'markdown'): string {
  if (reachable.length + unreachable.length === 0) return 'Nothing became reachable, nothing unreachable.'
  const lines = (changes: readonly Change[], mark: string) =>
    changes.map(({ method, template, persona, before, after }) => ({
      mark,
      operation: `${method} ${template}`,
      persona,
      change: `${textOf(before)} → ${textOf(after)}`,
    }))
  const all = [...lines(reachable, '+'), ...lines(unreachable, '-')]
  if (format === 'markdown') {
    return table(
      ['', 'Operation', 'Persona', 'Before → after'],
      all.map(({ mark, operation, persona, change }) => [
        mark === '+' ? 'reachable' : 'unreachable',
        `\`${operation}\``,
        persona,
        change,
      ]),
    )
  }
  return tableOf(all.map(({ mark, operation, persona, change }) => [mark, operation, persona, change]))
}

function textOf({ verdict, status, code, row, why, shadow }: Reach): string {
  const refusal = (one: { readonly status?: number; readonly code?: string; readonly row?: string }) =>
    `${one.status} ${one.row ?? one.code}`
  if (verdict === 'depends') return `depends ${why}`
  if (verdict === 'unknown') return `unknown: ${status} ${code}`
  if (verdict === 'deny') return refusal({ ...(status && { status }), ...(code && { code }), ...(row && { row }) })
  return shadow ? `allow (shadow: ${refusal(shadow)})` : 'allow'
}

/** The methods of one path that no document speaks of, as one when they fare alike. */
function joined(rows: readonly MatrixRow[]): readonly MatrixRow[] {
  const groups = new Map<string, MatrixRow[]>()
  for (const row of rows) {
    const key = JSON.stringify(row.documented ? [row.method, row.template] : [row.template])
    groups.set(key, [...(groups.get(key) ?? []), row])
  }
  return [...groups.values()].flatMap((group) => {
    const [first] = group
    const alike = group.every(
      ({ reach }) => JSON.stringify(reach.map(textOf)) === JSON.stringify(first!.reach.map(textOf)),
    )
    return group.length > 1 && alike ? [{ ...first!, method: group.length === 5 ? '*' : methodsOf(group) }] : group
  })
}

function methodsOf(rows: readonly MatrixRow[]): string {
  return rows.map(({ method }) => method).join(',')
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')
}
