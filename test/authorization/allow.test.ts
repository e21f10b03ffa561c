import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Caller } from '../../src/authentication/caller.ts'
import { allow, compileAllow } from '../../src/authorization/allow.ts'
import { lackingNames } from '../../src/authorization/requirements.ts'
import { questionOf } from './question.ts'

const question = (caller: Partial<Caller>) => questionOf({ caller })

describe('allow', () => {
  test('lets any one of the roles through and names them all when none is there', () => {
    const policy = compileAllow(allow.parse({ roles: ['admin', 'editor'] }))
    assert.equal(policy.decide(question({ roles: ['editor'] })).verdict, 'permit')
    assert.deepEqual(policy.decide(question({ roles: ['reader'] })), {
      verdict: 'deny',
      code: 'insufficient-role',
      row: '/roles',
      detail: 'One of the roles admin, editor is needed.',
    })
  })

  test('needs every permission and names the missing ones', () => {
    const policy = compileAllow(allow.parse({ permissions: ['orders:read', 'orders:write'] }))
    assert.equal(policy.decide(question({ permissions: ['orders:write', 'orders:read'] })).verdict, 'permit')
    assert.deepEqual(policy.decide(question({ permissions: ['orders:read'] })), {
      verdict: 'deny',
      code: 'insufficient-permission',
      row: '/permissions',
      detail: 'The permission orders:write is needed.',
    })
  })

  test('counts the permissions that roles bring along', () => {
    const policy = compileAllow(allow.parse({ permissions: ['orders:write'] }), {
      rolePermissions: { editor: ['orders:write'] },
    })
    assert.equal(policy.decide(question({ roles: ['editor'] })).verdict, 'permit')
    const none = compileAllow(allow.parse({ when: 'caller.permissions == []' }), { rolePermissions: { editor: ['x'] } })
    assert.equal(none.decide(question({ roles: ['constructor', '__proto__', 'toString'] })).verdict, 'permit')
  })

  test('answers a missing scope with all scopes the challenge must name', () => {
    const policy = compileAllow(allow.parse({ scopes: ['orders', 'orders.write'] }))
    assert.deepEqual(policy.decide(question({ scopes: ['orders'] })), {
      verdict: 'deny',
      code: 'insufficient-scope',
      row: '/scopes',
      detail: 'The scope orders.write is needed.',
      scopes: ['orders', 'orders.write'],
    })
  })

  test('checks the cheapest row first, however the rows are written', () => {
    for (const rows of [
      { scopes: ['a'], roles: ['b'] },
      { roles: ['b'], scopes: ['a'] },
    ]) {
      const decision = compileAllow(allow.parse(rows)).decide(question({}))
      assert.equal(decision.verdict === 'deny' && decision.row, '/roles')
    }
  })

  test('takes any one block of a list, and answers from the block that came nearest', () => {
    const policy = compileAllow(allow.parse([{ roles: ['admin'] }, { roles: ['editor'], scopes: ['orders'] }]))
    assert.equal(policy.decide(question({ roles: ['admin'] })).verdict, 'permit')
    assert.equal(policy.decide(question({ roles: ['editor'], scopes: ['orders'] })).verdict, 'permit')
    assert.deepEqual(policy.decide(question({ roles: ['editor'] })), {
      verdict: 'deny',
      code: 'insufficient-scope',
      row: '/1/scopes',
      detail: 'One of these is needed: the role admin; or the role editor and the scope orders.',
      scopes: ['orders'],
    })
  })

  test('answers from the first block when several came as near', () => {
    const policy = compileAllow(allow.parse([{ roles: ['a'] }, { permissions: ['b'] }]))
    const decision = policy.decide(question({}))
    assert.equal(decision.verdict === 'deny' && decision.row, '/0/roles')
  })

  test('refuses what would let everybody or nobody through', () => {
    for (const mistake of [{}, [], [{}], { roles: [] }, { scopes: ['two words'] }, { rolls: ['admin'] }, 'admin']) {
      assert.equal(allow.safeParse(mistake).success, false, JSON.stringify(mistake))
    }
  })

  test('lets everybody who got this far through when nothing is written', () => {
    assert.equal(compileAllow(undefined).decide(question({})).verdict, 'permit')
  })
})

describe('the names in a security requirement', () => {
  test('are scopes for OAuth schemes and roles for all others; the refusal says which are missing', () => {
    const [missing, needed] = [['auditor'], ['admin', 'auditor']]
    assert.deepEqual(lackingNames({ scheme: 'api/key', kind: 'roles', missing, needed }), {
      verdict: 'deny',
      code: 'insufficient-role',
      row: '/api~1key',
      detail: 'The role auditor is needed.',
    })
    assert.deepEqual(lackingNames({ scheme: 'oauth2', kind: 'scopes', missing, needed }), {
      verdict: 'deny',
      code: 'insufficient-scope',
      row: '/oauth2',
      detail: 'The scope auditor is needed.',
      // A token with these alone would not do (RFC 6750 §3).
      scopes: ['admin', 'auditor'],
    })
  })
})
