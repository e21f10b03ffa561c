import { createHash, timingSafeEqual } from 'node:crypto'
import { unwatchFile, watchFile } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { type ParseError, parse } from 'jsonc-parser'
import { z } from 'zod'
import type { Tools } from '../tools.ts'
import { plainly } from '../values.ts'
import { bytesOf, hashPassword, parsePasswordHash, verifyPassword } from './password.ts'

const name = z.string().min(1, 'must not be empty').max(256, 'is longer than 256 characters')
const names = z.array(name).default([])

const record = z.strictObject({
  username: name.describe('What the user types to sign in.'),
  password: z
    .string()
    .min(1, 'must not be empty')
    .optional()
    .describe('In the clear, for demonstrations on this machine only. `sallyport users hash` makes a passwordHash.'),
  passwordHash: z
    .string()
    .refine(
      (text) => parsePasswordHash(text) !== undefined,
      'is not an argon2id hash of at most 256 MiB; `sallyport users hash` makes one',
    )
    .optional()
    .describe('argon2id in the PHC string format, as `sallyport users hash` prints it.'),
  subject: name
    .optional()
    .describe('`sub` of the tokens; must never change or be given to another. Default: username.'),
  name: name.optional(),
  email: z.email('is not an email address').optional(),
  organization: name.optional(),
  roles: names,
  permissions: names,
  active: z.boolean().default(true).describe('false locks the user out within a second, tokens included.'),
})
const user = record
  .refine(({ password, passwordHash }) => (password === undefined) !== (passwordHash === undefined), {
    error: 'needs either passwordHash, or password for demonstrations',
  })
  .transform((one) => ({ ...one, subject: one.subject ?? one.username }))

/** The users file, as an operator writes it. */
export const usersFile = z
  .array(
    user,
    'is not a list of users, such as [{ "username": "ada", "passwordHash": "$argon2id$…", "roles": ["editor"] }]',
  )
  .superRefine((list, context) => {
    for (const key of ['username', 'subject'] as const) {
      const first = new Map<string, number>()
      for (const [index, { [key]: value }] of list.entries()) {
        const earlier = first.get(value)
        if (earlier === undefined) first.set(value, index)
        else
          context.addIssue({ code: 'custom', path: [index, key], message: `"${value}" is that of /${earlier} already` })
      }
    }
  })

export type User = Readonly<z.output<typeof user>>

/** The users file cannot be used. The message lists everything that is wrong with it. */
export class InvalidUsers extends Error {
  readonly path: string
  readonly mistakes: readonly string[]

  constructor(path: string, mistakes: readonly string[], options?: ErrorOptions) {
    super(`the users file ${path} cannot be used\n${mistakes.map((mistake) => `  ${mistake}`).join('\n')}`, options)
    this.name = 'InvalidUsers'
    this.path = path
    this.mistakes = mistakes
  }
}

export interface Users {
  /** Also those who are not active. */
  find(subject: string): User | undefined
  /** Everybody, also those who are not active. */
  all(): readonly User[]
  /** Whether there is such a user and nobody has locked it out. */
  isActive(subject: string): boolean
  /**
   * The user whose password this is; undefined when it is not, or when there is no such user, or the user is locked
   * out: in the same time, so that nobody can ask who is there.
   */
  verify(username: string, password: string): Promise<User | undefined>
  close(): void
}

export interface UsersOptions {
  /** Plain passwords are for the machine they stand on. */
  readonly allowPlainPasswords: boolean
  /** Subjects that users must not have: those of clients. */
  readonly reserved: ReadonlySet<string>
}

/** For an issuer that has clients only. */
export const nobody: Users = Object.freeze({
  find: () => undefined,
  all: () => [],
  isActive: () => false,
  verify: async () => undefined,
  close() {},
})

/** How often the file is looked at; with the reading of it well below the second that a lock-out may take. */
const lookEvery = 400

/** Reads the users file and follows its changes. A change that cannot be used is logged and changes nothing. */
export async function openUsers(path: string, options: UsersOptions, { log }: Tools): Promise<Users> {
  let current: Directory
  let closed = false
  const first = directoryOf(path, options)
  let reading: Promise<unknown> = first
  // Not fs.watch: that loses files that are replaced rather than written, as editors and Kubernetes do.
  watchFile(path, { interval: lookEvery, persistent: false }, onChange)
  try {
    current = await first
  } catch (error) {
    unwatchFile(path, onChange)
    throw error
  }

  // A file that is not there is told like a change; when the first reading failed, that has been said.
  function onChange(): void {
    reading = reading.then(readAgain, () => {})
  }

  async function readAgain(): Promise<void> {
    try {
      const next = await directoryOf(path, options)
      if (!closed) current = next
      log.info({ path, users: next.size }, 'the users file was read again')
    } catch (error) {
      log.error({ err: error, path }, 'the changed users file cannot be used; the users stay as they were')
    }
  }

  return {
    find: (subject) => current.bySubject.get(subject),
    all: () => [...current.bySubject.values()],
    isActive: (subject) => current.bySubject.get(subject)?.active === true,
    verify: (username, password) => current.verify(username, password),
    close() {
      closed = true
      unwatchFile(path, onChange)
    },
  }
}

interface Directory {
  readonly size: number
  readonly bySubject: ReadonlyMap<string, User>
  verify(username: string, password: string): Promise<User | undefined>
}

async function directoryOf(path: string, options: UsersOptions): Promise<Directory> {
  const users = await readUsers(path, options)
  const byUsername = new Map(users.map((record) => [record.username, record]))
  // What unknown users and plain passwords are checked against, at the cost that the others have.
  const decoy = parsePasswordHash(
    users.find(({ passwordHash }) => passwordHash !== undefined)?.passwordHash ?? (await hashPassword('decoy')),
  )!
  return {
    size: users.length,
    bySubject: new Map(users.map((record) => [record.subject, record])),
    async verify(username, password) {
      const record = byUsername.get(username)
      const hash = record?.passwordHash === undefined ? decoy : parsePasswordHash(record.passwordHash)!
      const matchesHash = await verifyPassword(hash, password)
      const matches = record?.password === undefined ? matchesHash : equal(record.password, password)
      return record?.active && matches ? record : undefined
    },
  }
}

async function readUsers(path: string, { allowPlainPasswords, reserved }: UsersOptions): Promise<readonly User[]> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    throw new InvalidUsers(path, [code === 'ENOENT' ? 'there is no such file' : message], { cause })
  }
  // Not JSON.parse: its message quotes what stands around the fault, and that may be a password.
  const faults: ParseError[] = []
  const value: unknown = parse(text, faults, { disallowComments: true })
  if (faults[0]) {
    const before = text.slice(0, faults[0].offset).split('\n')
    throw new InvalidUsers(path, [`is not JSON: line ${before.length}, column ${before.at(-1)!.length + 1}`])
  }
  const parsed = usersFile.safeParse(value)
  const mistakes = parsed.success ? [] : parsed.error.issues.map((issue) => `/${issue.path.join('/')} ${told(issue)}`)
  for (const [index, record] of (parsed.data ?? []).entries()) {
    if (record.password !== undefined && !allowPlainPasswords) {
      mistakes.push(
        `/${index}/password is in the clear, which is for 127.0.0.1 only; make a passwordHash with \`sallyport users hash\`, or set "allowDemoUsers": true`,
      )
    }
    if (reserved.has(record.subject)) mistakes.push(`/${index}/subject "${record.subject}" is the id of a client`)
  }
  if (mistakes.length > 0) throw new InvalidUsers(path, mistakes)
  return parsed.data!
}

function told(issue: z.core.$ZodIssue): string {
  const plain = plainly(issue)
  return issue.code === 'unrecognized_keys' ? `${plain}; the keys are ${Object.keys(record.shape).join(', ')}` : plain
}

function equal(one: string, other: string): boolean {
  return timingSafeEqual(digest(one), digest(other))
}

function digest(password: string): Buffer {
  return createHash('sha256').update(bytesOf(password)).digest()
}
