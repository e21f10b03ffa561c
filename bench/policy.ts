/**
 * `npm run bench:policy`: what a decision costs, as the gateway makes it: a compiled `allow`, a question made for each
 * request, callers that come again. Exits with 1 when a decision by CEL takes more than 5 µs of CPU in its best round.
 */
import { type Caller, guest } from '../src/authentication/caller.ts'
import { type AllowDefinition, allow, createPolicies } from '../src/authorization/allow.ts'
import type { Question } from '../src/authorization/policy.ts'
import { createFields } from '../src/http/fields.ts'

const goal = 5
const rounds = 9
const perRound = 100_000

const cases: Readonly<Record<string, object>> = {
  'roles and permissions, no condition': { roles: ['editor', 'admin'], permissions: ['orders:write'] },
  'the owner or an admin': { when: "caller.subject == request.params.owner || 'admin' in caller.roles" },
  'a claim that may be missing': { when: "has(caller.claims.tenant) && caller.claims.tenant == 'acme'" },
  'a claim that is missing, which denies': { when: "caller.claims.absent == 'x'" },
  'a network and an hour': {
    when: "inNetwork(request.ip, '10.0.0.0/8') && request.time.getHours('Europe/Berlin') >= 0",
  },
  'a field and a parameter of the request': {
    when: "request.headers['x-tenant'] == caller.claims.tenant && request.query.full == '1'",
  },
  'a loop over roles': { when: "caller.roles.exists(role, role.startsWith('edit'))" },
  'a pattern': { when: "glob(request.path, '/orders/**') && re2(request.params.owner, '^[a-z]+[0-9]*$')" },
  'a thing that was read': {
    resource: { get: '/{owner}' },
    when: "'admin' in caller.roles || resource.author == caller.subject && resource.status != 'published'",
  },
}

const thing = { author: 'user-1', status: 'draft', title: 'A title', tags: ['a', 'b'], body: 'x'.repeat(500) }
const callers = Array.from(
  { length: 50 },
  (_, at): Caller => ({
    ...guest,
    subject: `user-${at}`,
    roles: ['reader', 'editor'],
    permissions: ['orders:read'],
    claims: { sub: `user-${at}`, tenant: 'acme', level: at, iat: 1, exp: 2, scope: 'orders' },
    method: 'jwt',
  }),
)
const fields = createFields([
  ...['Host', 'api.example', 'Accept', '*/*', 'User-Agent', 'bench', 'X-Tenant', 'acme'],
  ...['Authorization', 'Bearer …', 'Accept-Encoding', 'gzip', 'Cookie', 'a=b'],
])
const client = { address: '10.1.2.3', protocol: 'https', host: 'api.example', peer: '10.1.2.3', viaTrustedProxy: false }
const now = Date.UTC(2026, 10, 27, 12)

function questionOf(at: number): Question {
  const owner = `user${at % 97}`
  const path = `/orders/${owner}`
  return {
    caller: callers[at % callers.length]!,
    head: {
      id: 'r',
      method: 'GET',
      target: `${path}?full=1`,
      path,
      query: 'full=1',
      fields,
      client,
    } as Question['head'],
    params: new Map([['owner', owner]]),
    service: { name: 'orders' },
    route: { id: 'orders GET /{owner}' },
    now: now + at,
    resources: new Map([['/{owner}', { outcome: 'read', value: thing }]]),
  }
}

const policies = createPolicies({ rolePermissions: { editor: ['orders:write'] } })
let missed = false
for (const [name, written] of Object.entries(cases)) {
  const policy = policies.compile(allow.parse(written) as AllowDefinition)
  const times: number[] = []
  let permitted = 0
  for (let round = 0; round < rounds; round += 1) {
    const questions = Array.from({ length: 1_000 }, (_, at) => questionOf(round * 1_000 + at))
    const before = process.cpuUsage()
    for (let at = 0; at < perRound; at += 1) {
      // A view of the request is made for each decision: none is kept between them.
      if (policy.decide(questions[at % 1_000]!).verdict === 'permit') permitted += 1
    }
    const { user, system } = process.cpuUsage(before)
    times.push((user + system) / perRound)
  }
  times.sort((one, other) => one - other)
  const [best, median] = [times[0]!, times[rounds >> 1]!]
  if (best > goal) missed = true
  const share = Math.round((100 * permitted) / (rounds * perRound))
  console.log(
    `${name.padEnd(42)} ${median.toFixed(2).padStart(6)} µs of CPU (best ${best.toFixed(2)}), ${share} % permitted`,
  )
}
console.log(missed ? `more than ${goal} µs a decision` : `at most ${goal} µs a decision`)
process.exitCode = missed ? 1 : 0
