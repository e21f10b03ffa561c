import { errors, type Provider } from 'oidc-provider'
import type { AccessTokenClaims, AccessTokens } from '../access-tokens.ts'
import { type IssuerParts, resourceServerOf } from '../configuration.ts'
import { grantTypes } from '../settings.ts'

const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token'
const jwtType = 'urn:ietf:params:oauth:token-type:jwt'

interface Parameters {
  readonly subject_token?: string
  readonly subject_token_type?: string
  readonly requested_token_type?: string
  readonly actor_token?: string
  readonly actor_token_type?: string
  readonly audience?: string
  readonly scope?: string
}

/**
 * Token exchange (RFC 8693): a client that holds somebody's access token gets one for another audience, in the same
 * person's name. It says who acts (`act`), dies with the login it came from (`fam`), lives no longer than the token
 * it was exchanged for, and never says more: scopes can only become fewer.
 */
export function registerTokenExchange(provider: Provider, parts: IssuerParts, accessTokens: AccessTokens): void {
  const { clients, audience: ownAudience, publicUrl, now } = parts

  provider.registerGrantType<Parameters>(
    grantTypes.token_exchange,
    async function tokenExchange(ctx) {
      const { client, params } = ctx.oidc
      const { subject_token, subject_token_type, requested_token_type = accessTokenType, actor_token } = params
      if (!subject_token || !subject_token_type)
        throw new errors.InvalidRequest('subject_token and subject_token_type are needed')
      if (subject_token_type !== accessTokenType && subject_token_type !== jwtType)
        throw new errors.InvalidRequest('subject_token_type must be that of an access token or a JWT')
      if (requested_token_type !== accessTokenType && requested_token_type !== jwtType)
        throw new errors.InvalidRequest('only access tokens are issued')
      if (actor_token !== undefined || params.actor_token_type !== undefined)
        throw new errors.InvalidRequest('actor_token is not supported: the client itself is the actor')

      // RFC 8693 §2.2.2.
      const subject = await accessTokens.read(subject_token)
      if (!subject) throw new errors.InvalidRequest('subject_token is not a valid token of this issuer')

      const audience = params.audience ?? ownAudience
      const definition = clients.get(client.clientId)
      if (audience !== ownAudience && !definition?.audiences.includes(audience))
        throw new errors.InvalidTarget('this client may not ask for tokens for this audience')

      const held = subject.scope?.split(' ') ?? []
      const scope = params.scope?.split(' ') ?? held
      if (!scope.every((name) => held.includes(name)))
        throw new errors.InvalidScope('the scope must be part of what the subject token has', params.scope ?? '')

      const token = new provider.AccessToken({
        accountId: subject.sub,
        client,
        grantId: subject.fam as string,
        gty: 'token_exchange',
        scope: scope.join(' '),
        expiresIn: expiresIn(subject, parts, client.clientId, now()),
      })
      token.resourceServer = new provider.ResourceServer(publicUrl, {
        ...resourceServerOf(parts, client.clientId),
        audience,
      })
      // The current actor outermost, earlier ones inside (RFC 8693 §4.1).
      ctx.oidc.entity('Actor', { sub: client.clientId, ...(subject.act && { act: subject.act }) })
      ctx.oidc.entity('AccessToken', token)
      ctx.body = {
        access_token: await token.save(),
        issued_token_type: requested_token_type,
        token_type: 'Bearer',
        expires_in: token.expiration,
        ...(scope.length > 0 && { scope: scope.join(' ') }),
      }
    },
    [
      'subject_token',
      'subject_token_type',
      'requested_token_type',
      'actor_token',
      'actor_token_type',
      'audience',
      'scope',
    ],
  )
}

function expiresIn(subject: AccessTokenClaims, parts: IssuerParts, clientId: string, now: number): number {
  const { accessTokenTTL } = resourceServerOf(parts, clientId)
  return Math.max(1, Math.min(accessTokenTTL, Math.floor(subject.exp - now / 1_000)))
}
