/**
 * Field names that a service may take for the gateway's word, and that therefore never come from a client: who the caller is,
 * where the request came from, what was really asked for. Whatever a client sends under one of these names, in whatever
 * spelling, does not reach a service.
 *
 * Beside the gateway's own names (Contract of the identity fields) stand those of other gateways and proxies: a service that
 * once ran behind one of them may still believe it.
 */

/**
 * A name as a server sees it that folds spellings: lower case, every run of other characters one hyphen, none at the ends.
 * CGI, WSGI and PHP read `X-User-Id`, `X_User_Id` and `X.User.Id` as one variable (CVE-2025-64484).
 */
export function foldName(name: string): string {
  const lower = name.toLowerCase()
  if (plain.test(lower)) return lower
  return lower.replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '')
}

const plain = /^[a-z0-9]+(?:-[a-z0-9]+)*$/

/** Whether a folded name is reserved. */
export function isReserved(folded: string): boolean {
  return names.has(folded) || (prefixes.test(folded) && !exceptions.has(folded))
}

const names: ReadonlySet<string> = new Set([
  // Who the caller is.
  ...[
    'user-id',
    'user-email',
    'user-role',
    'user-roles',
    'user-name',
    'user-groups',
    'user-permissions',
    'user-scopes',
  ],
  ...['organization-id', 'permissions', 'auth-status', 'auth-method', 'auth-error', 'token-type', 'token-expires'],
  ...['x-user', 'x-userid', 'x-username', 'x-userinfo', 'x-email', 'x-subject', 'x-organization-id'],
  ...['x-role', 'x-roles', 'x-group', 'x-groups', 'x-scope', 'x-scopes', 'x-permission', 'x-permissions'],
  ...['x-auth-status', 'x-auth-method', 'x-auth-user', 'x-auth-userid', 'x-auth-username', 'x-auth-email'],
  ...[
    'x-auth-subject',
    'x-auth-roles',
    'x-auth-groups',
    'x-token-type',
    'x-token-expires',
    'x-consumer',
    'x-authenticated',
  ],
  ...['x-endpoint-api-userinfo', 'x-apigateway-api-userinfo', 'x-goog-iap-jwt-assertion', 'x-arr-clientcert'],
  // Which request this is.
  ...['x-request-id', 'traceparent', 'tracestate', 'via'],
  // Where it came from.
  ...['forwarded', 'forwarded-for', 'x-forwarded', 'x-real-ip', 'x-client-ip', 'client-ip', 'true-client-ip'],
  ...[
    'cf-connecting-ip',
    'cf-connecting-ipv6',
    'cf-pseudo-ipv4',
    'fastly-client-ip',
    'fly-client-ip',
    'x-cluster-client-ip',
  ],
  ...['x-appengine-user-ip', 'x-azure-clientip', 'x-azure-socketip', 'x-originating-ip', 'x-proxyuser-ip'],
  ...['x-host', 'x-http-host-override'],
  // What was asked for.
  ...['x-http-method', 'x-http-method-override', 'x-method-override', 'method'],
])

const prefixes = new RegExp(
  `^(?:${[
    // The gateway's own, and the common conventions for "the user".
    'x-user-|x-forwarded-|x-gateway-|x-internal-|x-sallyport-|sallyport-',
    // Kong and APISIX; oauth2-proxy; Authelia and Kubernetes; Grafana; Pomerium; authentik; Cloudflare Access.
    'x-consumer-|x-credential-|x-anonymous-|x-authenticated-|x-auth-request-|remote-|x-remote-|x-webauth-',
    'x-pomerium-|x-authentik-|cf-access-',
    // Azure Easy Auth, AWS load balancers, Google IAP, Istio and others that write claims.
    'x-ms-client-principal|x-ms-token-|x-amzn-oidc-|x-goog-authenticated-user-|x-jwt-',
    // Client certificates (RFC 9440, nginx, Apache).
    'client-cert|x-client-cert|x-client-dn|x-client-verify|x-client-subject|x-ssl-client|ssl-client|x-tls-client',
    // The request before some rewriting: IIS and Symfony, Next.js (CVE-2025-29927), Envoy.
    'x-original-|x-rewrite-|x-middleware-|x-envoy-',
    // Of no business behind a proxy, and httpoxy (CVE-2016-5385).
    'proxy$|proxy-',
  ].join('|')})`,
)

/** Caught by a prefix and harmless: what a grpc-web client calls itself. */
const exceptions: ReadonlySet<string> = new Set(['x-user-agent'])

const written: ReadonlySet<string> = new Set([
  // RFC 9110 §7.6.1, and what the transport makes of a body.
  ...[
    'connection',
    'keep-alive',
    'proxy-connection',
    'te',
    'trailer',
    'transfer-encoding',
    'upgrade',
    'http2-settings',
  ],
  ...['content-length', 'expect'],
  ...['via', 'x-request-id', 'traceparent', 'tracestate'],
  ...['forwarded', 'x-forwarded-for', 'x-forwarded-host', 'x-forwarded-proto', 'x-forwarded-prefix'],
])

/** Whether the gateway writes a field into every request, so that one of services.json would be a second, or break the framing. */
export function isWrittenByGateway(name: string): boolean {
  return written.has(name.toLowerCase())
}
