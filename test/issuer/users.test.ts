import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { hashPassword, parsePasswordHash, verifyPassword } from '../../src/issuer/password.ts'
import { createTurnstile } from '../../src/issuer/turnstile.ts'
import { InvalidUsers, openUsers, type Users } from '../../src/issuer/users.ts'
import { silent } from '../../src/telemetry/log.ts'
import { isActive, people, refresh, startIssuer, tokensByPassword } from './issuer-app.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-users-'))
after(() => rmSync(folder, { recursive: true }))
const options = { allowPlainPasswords: true, reserved: new Set(['reporter']) }
const tools = { now: Date.now, log: silent }

let files = 0
function fileOf(content: unknown): string {
  files += 1
  const path = join(folder, `users-${files}.json`)
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

async function mistakesOf(content: unknown, changes: Partial<typeof options> = {}): Promise<string> {
  try {
    const users = await openUsers(fileOf(content), { ...options, ...changes }, tools)
    users.close()
  } catch (error) {
    assert.ok(error instanceof InvalidUsers)
    return error.message
  }
  return ''
}

async function until(condition: () => boolean | Promise<boolean>, within: number): Promise<void> {
  const end = performance.now() + within
  while (!(await condition())) {
    assert.ok(performance.now() < end, `not within ${within} ms`)
    await delay(20)
  }
}

describe('password hashes', () => {
  test('are argon2id in the PHC string format, another each time', async () => {
    const [one, other] = await Promise.all([hashPassword('secret'), hashPassword('secret')])
    assert.match(one!, /^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/)
    assert.notEqual(one, other)
    assert.equal(await verifyPassword(parsePasswordHash(one!)!, 'secret'), true)
    assert.equal(await verifyPassword(parsePasswordHash(one!)!, 'Secret'), false)
  })

  test('made elsewhere are understood', async () => {
    // The argon2 reference implementation: echo -n password | argon2 somesalt -id -t 2 -m 16 -p 1
    const reference = '$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc'
    assert.equal(await verifyPassword(parsePasswordHash(reference)!, 'password'), true)
  })

  test('do not depend on how a letter is spelt', async () => {
    const hash = parsePasswordHash(await hashPassword('caf\u00e9'))!
    assert.equal(await verifyPassword(hash, 'cafe\u0301'), true)
  })

  test('that are something else, or would stop the gateway, are refused', () => {
    for (const text of [
      'secret',
      '$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy',
      '$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc',
      '$argon2id$v=19$m=9999999,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc',
      '$argon2id$v=19$m=65536,t=99,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc',
      '$argon2id$v=19$m=4,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc',
      '$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$short',
    ])
      assert.equal(parsePasswordHash(text), undefined, text)
  })
})

describe('the users file', () => {
  test('is refused with every mistake at once', async () => {
    const message = await mistakesOf([
      { username: 'a', password: 'x', rols: [] },
      { username: 'b' },
      { username: 'c', password: 'x', passwordHash: 'y' },
      { username: 'd', password: 'x', email: 'nonsense' },
      { password: 'x' },
      { username: 'f', password: 'x', roles: 'admin' },
    ])
    for (const expected of [
      '/0 "rols" is not a key here; the keys are username, password, passwordHash, subject, ',
      '/1 needs either passwordHash, or password for demonstrations',
      '/2/passwordHash is not an argon2id hash',
      '/3/email is not an email address',
      '/4/username this key is missing',
      '/5/roles a list [ … ] belongs here, not a string',
    ])
      assert.ok(message.includes(expected), `${expected} is not in ${message}`)
  })

  test('has no two users of one name, and none with the subject of a client', async () => {
    assert.match(
      await mistakesOf([
        { username: 'a', password: 'x' },
        { username: 'a', password: 'y', subject: 'other' },
      ]),
      /\/1\/username "a" is that of \/0 already/,
    )
    assert.match(
      await mistakesOf([
        { username: 'a', password: 'x', subject: 's' },
        { username: 'b', password: 'y', subject: 's' },
      ]),
      /\/1\/subject "s" is that of \/0 already/,
    )
    assert.match(await mistakesOf([{ username: 'reporter', password: 'x' }]), /"reporter" is the id of a client/)
  })

  test('that is missing or no JSON is refused without a word of what stands in it', async () => {
    await assert.rejects(openUsers(join(folder, 'none.json'), options, tools), /there is no such file/)
    const message = await mistakesOf('[{ "username": "a",\n "password": "hunter2" "name": 1 }]')
    assert.match(message, /is not JSON: line 2, column \d+/)
    assert.ok(!message.includes('hunter2'))
    assert.match(await mistakesOf({}), /is not a list of users/)
  })

  test('has no plain passwords where others can reach the gateway', async () => {
    assert.match(
      await mistakesOf([{ username: 'a', password: 'x' }], { allowPlainPasswords: false }),
      /\/0\/password is in the clear, .*sallyport users hash.*allowDemoUsers/,
    )
    const passwordHash = await hashPassword('x')
    assert.equal(await mistakesOf([{ username: 'a', passwordHash }], { allowPlainPasswords: false }), '')
  })

  test('tells who somebody is by plain password or by hash, and locked out users not at all', async () => {
    const users = await openUsers(
      fileOf([
        { username: 'plain', password: 'secret' },
        { username: 'hashed', subject: 'h', passwordHash: await hashPassword('secret') },
        { username: 'gone', password: 'secret', active: false },
      ]),
      options,
      tools,
    )
    assert.equal((await users.verify('plain', 'secret'))?.subject, 'plain')
    assert.equal((await users.verify('hashed', 'secret'))?.subject, 'h')
    for (const [username, password] of [
      ['plain', 'Secret'],
      ['plain', ''],
      ['hashed', 'other'],
      ['gone', 'secret'],
      ['nobody', 'secret'],
      ['nobody', 'decoy'],
      ['__proto__', 'secret'],
    ] as const)
      assert.equal(await users.verify(username, password), undefined, username)
    users.close()
  })

  test('takes as long for unknown users as for known ones, hashed or not', async () => {
    const users = await openUsers(
      fileOf([
        { username: 'plain', password: 'secret' },
        { username: 'hashed', passwordHash: await hashPassword('secret') },
      ]),
      options,
      tools,
    )
    // The processor's time, threads included: what else the machine does does not count.
    const cheapest = new Map<string, number>()
    for (let round = 0; round < 5; round += 1) {
      for (const username of ['plain', 'hashed', 'nobody']) {
        const before = process.cpuUsage()
        await users.verify(username, 'wrong')
        const { user, system } = process.cpuUsage(before)
        cheapest.set(username, Math.min(user + system, cheapest.get(username) ?? Number.POSITIVE_INFINITY))
      }
    }
    const costs = [...cheapest.values()]
    assert.ok(Math.max(...costs) < 1.4 * Math.min(...costs), JSON.stringify([...cheapest]))
    users.close()
  })
})

describe('a change of the users file', () => {
  async function opened(content: unknown): Promise<{ users: Users; path: string; logged: string[] }> {
    const path = fileOf(content)
    const logged: string[] = []
    const log = {
      ...silent,
      error: (facts: object, message: string) => logged.push(`${message} ${JSON.stringify(facts)}`),
    }
    return { users: await openUsers(path, options, { now: Date.now, log }), path, logged }
  }

  test('takes effect within a second, also when the file is replaced', async () => {
    const { users, path } = await opened([{ username: 'a', password: 'x' }])
    assert.equal(users.isActive('a'), true)
    await delay(50)
    writeFileSync(path, JSON.stringify([{ username: 'a', password: 'x', active: false }]))
    await until(() => !users.isActive('a'), 1_000)
    writeFileSync(
      `${path}.new`,
      JSON.stringify([
        { username: 'a', password: 'x' },
        { username: 'bb', password: 'y' },
      ]),
    )
    renameSync(`${path}.new`, path)
    await until(() => users.isActive('a') && users.isActive('bb'), 1_000)
    users.close()
  })

  test('that cannot be used changes nothing, and is reported', async () => {
    const { users, path, logged } = await opened([{ username: 'a', password: 'x' }])
    writeFileSync(path, '[{ "username": "broken')
    await until(() => logged.length > 0, 2_000)
    assert.match(logged[0]!, /cannot be used/)
    assert.equal(users.isActive('a'), true)
    assert.equal((await users.verify('a', 'x'))?.username, 'a')
    users.close()
  })

  test('locks a user out of tokens, refresh and sign-in within a second', async () => {
    const app = await startIssuer()
    const tokens = await tokensByPassword(app, 'bob')
    const credential = { issuer: app.issuer.issuer, subject: 'u-2' }
    assert.equal(app.issuer.isActive(credential), true)
    assert.equal(app.issuer.isActive({ issuer: 'https://elsewhere.test', subject: 'u-2' }), true)
    assert.equal(app.issuer.isActive({ issuer: app.issuer.issuer, subject: 'reporter' }), true)
    assert.equal(app.issuer.isActive({ issuer: app.issuer.issuer, subject: 'stranger' }), false)
    writeFileSync(
      app.usersFile,
      JSON.stringify(people.map((person) => ({ ...person, active: person.subject !== 'u-2' }))),
    )
    await until(() => !app.issuer.isActive(credential), 1_000)
    assert.equal(await isActive(app, tokens.access_token), false)
    assert.equal((await refresh(app, tokens.refresh_token)).json.error, 'invalid_grant')
    await assert.rejects(tokensByPassword(app, 'bob'))
    await app.stop()
  })

  test('of roles is in the next token', async () => {
    const app = await startIssuer()
    const tokens = await tokensByPassword(app, 'bob')
    writeFileSync(app.usersFile, JSON.stringify([{ ...people[1], roles: ['editor'] }]))
    await until(async () => {
      const { json } = await app.post(
        '/oauth2/introspect',
        { token: (await tokensByPassword(app, 'bob')).access_token },
        ['web', 'a-secret-of-the-web-application'],
      )
      return json.roles[0] === 'editor'
    }, 2_000)
    const next = (await refresh(app, tokens.refresh_token)).json.access_token
    assert.deepEqual(JSON.parse(Buffer.from(next.split('.')[1], 'base64url').toString()).roles, ['editor'])
    await app.stop()
  })
})

describe('the turnstile', () => {
  test('lets two through at a time, the others wait in order, and too many are turned away', async () => {
    const turnstile = createTurnstile(2, 3)
    const order: number[] = []
    let inside = 0
    let most = 0
    const work = (n: number) => async () => {
      inside += 1
      most = Math.max(most, inside)
      await delay(5)
      inside -= 1
      order.push(n)
    }
    const passes = [0, 1, 2, 3, 4].map((n) => turnstile.pass(work(n)))
    assert.equal(turnstile.pass(work(5)), undefined)
    await Promise.all(passes)
    assert.equal(most, 2)
    assert.deepEqual(order, [0, 1, 2, 3, 4])
    await assert.rejects(turnstile.pass(async () => Promise.reject(new Error('failed')))!, /failed/)
    assert.equal(await turnstile.pass(async () => 'again'), 'again')
  })
})
