import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createRequestFields, createResponseFields, remember } from '../../src/http/intermediary.ts'
import { Problem } from '../../src/http/problem.ts'
import { foldName } from '../../src/http/reserved-fields.ts'
import { skipWithoutShared, vectors } from '../vectors.ts'

const own = new Set(['__Host-sallyport', '_session'])
const requestFields = createRequestFields({
  credentials: ['authorization', 'X-API-Key'],
  owned: ['Feature-Tier', 'Acting-User'],
  cookies: own,
})
const lines = (text: string) =>
  text.split('\n').flatMap((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)])

describe('the fields for a service', () => {
  test('are those of the client, byte for byte and in order', () => {
    const raw = lines(
      'Accept: a\nX-Custom:  b \nACCEPT: c\nContent-Type: text/plain\nContent-Length: 3\nOrigin: https://a.example',
    )
    assert.deepEqual(requestFields(raw), raw)
    assert.deepEqual(requestFields([]), [])
  })

  test('leave out what concerns the connection only', () => {
    for (const name of [
      ...[
        'Connection',
        'Keep-Alive',
        'Proxy-Connection',
        'TE',
        'Trailer',
        'Transfer-Encoding',
        'Upgrade',
        'HTTP2-Settings',
      ],
      ...['Expect', 'Proxy', 'Proxy-Authorization', 'Proxy-Authenticate', 'Proxy-Anything'],
    ]) {
      assert.deepEqual(requestFields([name, 'x', name.toUpperCase(), 'x', 'A', 'b']), ['A', 'b'], name)
    }
  })

  test('leave out what Connection names, wherever it stands, but never Host and Content-Length', () => {
    const keep = createRequestFields({ host: 'keep' })
    const raw = lines(
      'Accept: a\nHost: gw.test\nX-Foo: 1\nConnection: close, X-FOO ,host,Content-Length\nContent-Length: 3\nx-foo: 2\nCookie: a=b',
    )
    assert.deepEqual(keep(raw), lines('Accept: a\nHost: gw.test\nContent-Length: 3\nCookie: a=b'))
    assert.deepEqual(keep([...raw, 'connection', 'cookie']), lines('Accept: a\nHost: gw.test\nContent-Length: 3'))
    assert.deepEqual(keep(lines('Connection: keep-alive\nKeep: 1')), ['Keep', '1'])
    assert.deepEqual(keep(lines('Connection: \nA: b')), ['A', 'b'])
  })

  test('have the Host field only when the service is to see the name the client used', () => {
    assert.deepEqual(requestFields(['Host', 'gw.test']), [])
    assert.deepEqual(createRequestFields({ host: 'keep' })(['host', 'gw.test']), ['host', 'gw.test'])
  })

  test('leave out credentials, and names that the gateway sets for this service, in every spelling', () => {
    for (const name of [
      'Authorization',
      'x-api-key',
      'X.Api.Key',
      'X_API_KEY',
      'feature-tier',
      'Acting_User',
      'ACTING--USER',
    ]) {
      assert.deepEqual(requestFields([name, 'x']), [], name)
    }
    assert.deepEqual(createRequestFields()(['Authorization', 'x']), ['Authorization', 'x'])
  })

  const identity =
    'User-ID User-Email User-Role User-Roles Organization-ID Permissions Auth-Status Auth-Method Token-Type Token-Expires ' +
    'X-Request-ID traceparent tracestate X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Prefix Forwarded'
  const foreign =
    'X-Original-URL X-Rewrite-URL X-HTTP-Method-Override X-HTTP-Method X-Middleware-Subrequest X-Forwarded-Uri X-Real-IP ' +
    'X-User-Id X-Roles X-Forwarded-User X-Authenticated-Userid Remote-User X-Remote-User X-Consumer-Username X-Auth-Request-Email ' +
    'X-Forwarded-Client-Cert True-Client-IP X-MS-CLIENT-PRINCIPAL X-MS-CLIENT-PRINCIPAL-ID X-MS-TOKEN-AAD-ID-TOKEN Client-Cert ' +
    'X-SSL-Client-Verify X-Pomerium-Claim-Email X-WebAuth-User X-Amzn-Oidc-Data Cf-Access-Authenticated-User-Email Via _method'
  test('never carry a name by which a service could be deceived, in any spelling', () => {
    for (const name of `${identity} ${foreign}`.split(' ')) {
      for (const spelling of [
        name,
        name.toLowerCase(),
        name.toUpperCase(),
        name.replaceAll('-', '_'),
        name.replace('-', '_'),
        name.replaceAll('-', '.'),
        name.replaceAll('-', '~'),
        name.replaceAll('-', '--'),
        name.replaceAll('-', '|'),
        `_${name}`,
        `${name}_`,
        `-${name}-`,
        `~${name}`,
      ]) {
        assert.deepEqual(requestFields([spelling, 'admin', spelling, 'admin']), [], spelling)
        assert.deepEqual(requestFields(['Connection', spelling, spelling, 'admin']), [], spelling)
      }
    }
  })

  test('never carry another spelling of a field that says what the message is', () => {
    for (const name of [
      'Content.Length',
      'Content~Type',
      'Host.',
      '_Cookie',
      'Transfer.Encoding',
      'Authorization-',
      'Connection.',
    ]) {
      assert.deepEqual(requestFields([name, 'x', 'A', 'b']), ['A', 'b'], name)
    }
  })

  test('keep what only looks similar', () => {
    for (const name of [
      ...[
        'User-Agent',
        'X-User-Agent',
        'Permissions-Policy',
        'X-Auth-Token',
        'X-Requested-With',
        'X-Custom.Name',
        'X-Client-Info',
      ],
      ...[
        'Accept-Encoding',
        'Sec-WebSocket-Key',
        'If-None-Match',
        'X-Correlation-ID',
        'baggage',
        'X-Tenant-Id',
        'Priority',
        'Teapot',
      ],
    ]) {
      assert.deepEqual(requestFields([name, 'x']), [name, 'x'], name)
    }
  })

  test('carry the cookies of the service without those of the gateway', () => {
    assert.deepEqual(requestFields(['Cookie', 'a=1; __Host-sallyport=s; b=2']), ['Cookie', 'a=1; b=2'])
    assert.deepEqual(requestFields(['cookie', '__Host-sallyport=s', 'Cookie', '_session=t;a=1']), ['Cookie', 'a=1'])
  })

  test('are decided alike by a cold and by a warm gateway, and however many names strangers invent', () => {
    const cold = createRequestFields()
    const raw = lines('Accept: a\nUser-ID: admin\nX-Custom: b')
    const first = cold(raw)
    for (let i = 0; i < 2_000; i++) assert.deepEqual(cold([`X-Invented-${i}`, 'x']), [`X-Invented-${i}`, 'x'])
    assert.deepEqual(cold(raw), first)
    assert.deepEqual(first, lines('Accept: a\nX-Custom: b'))
    const long = `X-${'a'.repeat(100)}`
    assert.deepEqual(cold([long, 'x']), [long, 'x'])
    assert.deepEqual(cold([`X-User-${'a'.repeat(100)}`, 'x']), [])
  })

  test('hold none of the aliases of the shared vectors', { skip: skipWithoutShared }, () => {
    const { cases } = vectors('identity-header-aliases.json') as {
      cases: { id: string; header: string; canonical: string }[]
    }
    assert.equal(cases.length, 95)
    const plain = createRequestFields()
    for (const { id, header, canonical } of cases) {
      assert.equal(foldName(header), canonical.toLowerCase(), id)
      assert.deepEqual(plain([header, 'admin', 'A', 'b']), ['A', 'b'], id)
      assert.deepEqual(plain([header, 'admin', header, 'admin']), [], id)
      assert.deepEqual(plain([header, 'admin', 'Connection', header]), [], id)
    }
  })
})

describe('the fields for a client', () => {
  const responseFields = createResponseFields({ owned: ['X-Request-ID', 'Access-Control-Allow-Origin'], cookies: own })

  test('are those of the service, byte for byte and in order', () => {
    const raw = lines(
      'Content-Type: a\nETag: "x"\nSet-Cookie: a=1; Path=/\nset-cookie: b=2\nContent-Length: 3\nVary: A\n__proto__: x',
    )
    assert.deepEqual(responseFields(raw), raw)
  })

  test('leave out what concerns the connection only, what Connection names, and banners', () => {
    const raw = lines(
      'Connection: X-Secret, Content-Length\nKeep-Alive: timeout=5\nProxy-Authenticate: Basic\nUpgrade: h2c\nTrailer: X\nTE: x\n' +
        'X-Secret: 1\nTransfer-Encoding: chunked\nServer: x\nX-Powered-By: y\nAlt-Svc: h3=":443"\nContent-Length: 3\nX-Kept: 1',
    )
    assert.deepEqual(responseFields(raw), lines('Content-Length: 3\nX-Kept: 1'))
  })

  test('leave out what the gateway itself says', () => {
    assert.deepEqual(responseFields(lines('x-request-id: 1\naccess-control-allow-origin: *\nA: b')), ['A', 'b'])
  })

  test('never set a cookie of the gateway', () => {
    for (const cookie of [
      ...[
        '__Host-sallyport=evil; Path=/; Secure',
        '__Host-sallyport=',
        ' __Host-sallyport =x',
        '__Host-sallyport',
        '=__Host-sallyport=x',
      ],
      ...['= =__Host-sallyport=x', '_session=x'],
    ]) {
      assert.deepEqual(responseFields(['Set-Cookie', cookie, 'Set-Cookie', 'a=__Host-sallyport']), [
        'Set-Cookie',
        'a=__Host-sallyport',
      ])
    }
  })

  test('are refused when the transfer coding is not chunked, once', () => {
    for (const raw of [
      ['Transfer-Encoding', 'xchunked'],
      ['Transfer-Encoding', 'gzip, chunked'],
      ['Transfer-Encoding', 'chunked, chunked'],
      ['Transfer-Encoding', 'chunked', 'transfer-encoding', 'chunked'],
    ]) {
      assert.throws(
        () => responseFields(raw),
        (error) => error instanceof Problem && error.code === 'upstream-invalid-response',
      )
    }
    assert.deepEqual(responseFields(['transfer-encoding', 'Chunked']), [])
  })
})

describe('the memory of spellings', () => {
  const asked: string[] = []
  const recall = remember((name) => {
    asked.push(name)
    return 'keep'
  })

  test('asks once for each spelling', () => {
    for (let i = 0; i < 3; i++) assert.equal(recall('Accept'), 'keep')
    recall('accept')
    assert.deepEqual(asked, ['Accept', 'accept'])
  })

  test('does not grow with the names that strangers invent, nor with their length', () => {
    for (let i = 0; i < 512; i++) recall(`X-${i}`)
    asked.length = 0
    recall('Accept')
    assert.deepEqual(asked, ['Accept'], 'it has started over')
    const long = 'a'.repeat(65)
    recall(long)
    recall(long)
    assert.deepEqual(asked, ['Accept', long, long])
  })
})
