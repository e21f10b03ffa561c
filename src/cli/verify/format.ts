import type { Failure, FailureKind } from './prove.ts'
import type { Verification } from './verify.ts'

const titles: Readonly<Record<FailureKind, string>> = {
  'not-authenticated': 'not authenticated with what the documentation page sends',
  open: 'let in without a credential, although the document asks for one',
  closed: 'refused for want of a credential, although the document asks for none',
  unreachable: 'documented, but not answered',
  undocumented: 'answered, but not documented',
}

/** Most of a kind that are written out; a mistake in one line of services.json can show a thousand times. */
const most = 20

export function formatVerification(verification: Verification): string {
  if (verification.outcome === 'unread') {
    const services = Object.entries(verification.services)
    return services.map(([name, reason]) => `the document of "${name}" could not be read: ${reason}`).join('\n')
  }
  const { report, notes } = verification
  const { operations, authenticated, refusedAfterwards, refusedWithout, open, notSent, failures } = report
  const lines = [
    `${operations} operations`,
    `${authenticated} times authenticated with what the documentation page sends (operation × alternative)`,
    ...(refusedAfterwards > 0
      ? [`  of these ${refusedAfterwards} refused afterwards, by "allow" or for their content: who called was known`]
      : []),
    `${refusedWithout} refused without a credential, ${open} open as documented`,
    ...Object.entries(notSent).map(([why, count]) => `${count} not sent: ${why}`),
    ...notes.map((note) => `note: ${note}`),
  ]
  for (const [kind, title] of Object.entries(titles) as [FailureKind, string][]) {
    const found = failures.filter((failure) => failure.kind === kind)
    if (found.length === 0) continue
    lines.push('', `${found.length} ${title}:`, ...found.slice(0, most).map(lineOf))
    if (found.length > most) lines.push(`  and ${found.length - most} more`)
  }
  lines.push(
    '',
    failures.length === 0 ? 'The gateway enforces what its document says.' : `${failures.length} failures.`,
  )
  return lines.join('\n')
}

function lineOf({ operation, requirement, detail }: Failure): string {
  const used = requirement === undefined ? '' : ` with ${Object.keys(requirement).join(' + ')}`
  return `  ${operation}${used}: ${detail}`
}
