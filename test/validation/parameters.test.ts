import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createFields } from '../../src/http/fields.ts'
import type { ParameterForm } from '../../src/validation/contract.ts'
import { readParameters } from '../../src/validation/parameters.ts'

const form = (changes: Partial<ParameterForm>): ParameterForm => ({
  name: 'color',
  in: 'query',
  required: false,
  style: 'form',
  explode: true,
  shape: 'text',
  members: [],
  emptyAllowed: false,
  ...changes,
})

interface Sent {
  readonly query?: string
  readonly fields?: readonly string[]
  readonly path?: string
}

function read(changes: Partial<ParameterForm>, { query = '', fields = [], path }: Sent) {
  const parameter = form(changes)
  const { values, mistakes } = readParameters(
    [parameter],
    { query, fields: createFields(fields) },
    new Map(path === undefined ? [] : [[parameter.name, path]]),
  )
  const found = values[parameter.in]
  const value = Object.hasOwn(found, parameter.name) ? structuredClone(found[parameter.name]) : undefined
  return mistakes.length > 0 ? mistakes[0]!.detail : value
}

const list = { shape: 'list' } as const
const members = { shape: 'members', members: ['R', 'G', 'B'] } as const
const three = ['blue', 'black', 'brown']
const rgb = { R: '100', G: '200', B: '150' }

describe('parameters are read as their styles say (OpenAPI 3.1 §4.8.12.6)', () => {
  const rows: readonly (readonly [string, Partial<ParameterForm>, Sent, unknown])[] = [
    ['form text', {}, { query: 'color=blue' }, 'blue'],
    ['form text, coded', {}, { query: 'co%6Cor=light+blue%2C' }, 'light blue,'],
    ['form text, twice', {}, { query: 'color=a&color=b' }, 'is given more than once'],
    ['form text, empty', {}, { query: 'color=' }, ''],
    ['form text, empty and allowed to be', { emptyAllowed: true }, { query: 'color' }, undefined],
    ['form list, exploded', list, { query: 'color=blue&color=black&color=brown' }, three],
    ['form list', { ...list, explode: false }, { query: 'color=blue,black,brown' }, three],
    ['form list with a coded comma', { ...list, explode: false }, { query: 'color=a%2Cb,c' }, ['a,b', 'c']],
    ['form members, exploded', members, { query: 'R=100&G=200&B=150&x=1' }, rgb],
    ['form members', { ...members, explode: false }, { query: 'color=R,100,G,200,B,150' }, rgb],
    ['space', { ...list, style: 'spaceDelimited', explode: false }, { query: 'color=blue%20black+brown' }, three],
    ['pipe', { ...list, style: 'pipeDelimited', explode: false }, { query: 'color=blue|black%7Cbrown' }, three],
    [
      'deep',
      { ...members, style: 'deepObject' },
      { query: 'color[R]=100&color%5BG%5D=200&color[B]=150&color[__proto__]=x&color[a][b]=y' },
      rgb,
    ],
    ['one or several: one', { shape: 'text-or-list' }, { query: 'color=a,b' }, 'a,b'],
    ['one or several: several', { shape: 'text-or-list' }, { query: 'color=a&color=b' }, ['a', 'b']],
    ['JSON', { shape: 'json' }, { query: 'color=%7B%22R%22%3A100%7D' }, { R: 100 }],
    ['JSON that is none', { shape: 'json' }, { query: 'color=%7B' }, 'is not JSON'],
    ['missing', { required: true }, { query: 'colour=blue' }, 'is required'],
    ['header text', { in: 'header', style: 'simple' }, { fields: ['Color', 'blue'] }, 'blue'],
    ['header list', { ...list, in: 'header', style: 'simple' }, { fields: ['COLOR', 'blue, black,brown'] }, three],
    ['header members', { ...members, in: 'header', style: 'simple' }, { fields: ['color', 'R=100,G=200,B=150'] }, rgb],
    ['cookie', { in: 'cookie' }, { fields: ['Cookie', 'a=1; color=blue'] }, 'blue'],
    ['simple', { in: 'path', style: 'simple', explode: false }, { path: 'light%20blue' }, 'light blue'],
    ['simple list', { ...list, in: 'path', style: 'simple', explode: false }, { path: 'blue,black,brown' }, three],
    ['simple members', { ...members, in: 'path', style: 'simple', explode: false }, { path: 'R,100,G,200,B,150' }, rgb],
    ['simple members, exploded', { ...members, in: 'path', style: 'simple' }, { path: 'R=100,G=200,B=150' }, rgb],
    ['label', { in: 'path', style: 'label', explode: false }, { path: '.blue' }, 'blue'],
    ['label list', { ...list, in: 'path', style: 'label' }, { path: '.blue.black.brown' }, three],
    ['label without its dot', { in: 'path', style: 'label' }, { path: 'blue' }, 'begins with "."'],
    ['matrix', { in: 'path', style: 'matrix', explode: false }, { path: ';color=blue' }, 'blue'],
    [
      'matrix list',
      { ...list, in: 'path', style: 'matrix', explode: false },
      { path: ';color=blue,black,brown' },
      three,
    ],
    [
      'matrix list, exploded',
      { ...list, in: 'path', style: 'matrix' },
      { path: ';color=blue;color=black;color=brown' },
      three,
    ],
    ['matrix members, exploded', { ...members, in: 'path', style: 'matrix' }, { path: ';R=100;G=200;B=150' }, rgb],
    ['matrix of another name', { in: 'path', style: 'matrix' }, { path: ';size=1' }, 'is written as ";color="'],
  ]
  for (const [name, changes, sent, expected] of rows) {
    test(name, () => assert.deepEqual(read(changes, sent), expected))
  }
})
