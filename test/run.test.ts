import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join, resolve } from 'node:path'
import { describe, test } from 'node:test'

const root = resolve(import.meta.dirname, '..')

function node(parameters: readonly string[], changes: Record<string, string | undefined> = {}) {
  const env = { ...process.env, NODE_TEST_CONTEXT: undefined, NO_COLOR: '1', ...changes }
  return spawnSync(process.execPath, parameters, { cwd: root, env, encoding: 'utf8', timeout: 120_000 })
}

describe('npm test', () => {
  test('runs a part and prints the counts last', () => {
    const { status, stdout } = node(['test/run.ts', 'test/contributing'])
    assert.equal(status, 0, stdout)
    const counts = stdout.trimEnd().split('\n').slice(-8)
    assert.deepEqual(
      counts.map((line) => /^ℹ (\w+) [\d.]+$/.exec(line)?.[1]),
      ['tests', 'suites', 'pass', 'fail', 'cancelled', 'skipped', 'todo', 'duration_ms'],
    )
    assert.match(counts[0]!, /^ℹ tests [1-9]/)
    assert.equal(counts[3], 'ℹ fail 0')
  })

  test('says so when there is nothing to run', () => {
    const { status, stderr } = node(['test/run.ts', 'test/no-such-room'])
    assert.equal(status, 2)
    assert.match(stderr, /no test file at or below test\/no-such-room/)
  })
})

describe('what the tests need besides Node', () => {
  const ask = (program: string, changes: Record<string, string | undefined>) =>
    node(
      ['--input-type=module', '-e', `console.log((await import('./test/requirements.ts')).skipWithout('${program}'))`],
      { PATH: join(root, 'no-such-folder'), SALLYPORT_CHROMIUM: undefined, CI: undefined, ...changes },
    )

  test('is skipped with one line that says what to install', () => {
    const { status, stdout } = ask('chromium', {})
    assert.equal(status, 0)
    assert.equal(stdout.trim(), 'chromium is not installed: apt-get install chromium')
  })

  test('is never skipped in CI', () => {
    const { status, stderr } = ask('chromium', { CI: 'true' })
    assert.equal(status, 1)
    assert.match(stderr, /chromium is not installed/)
  })

  test('may be somewhere else', () => {
    assert.equal(ask('chromium', { SALLYPORT_CHROMIUM: '/opt/chromium/chrome', CI: 'true' }).stdout.trim(), 'false')
  })
})
