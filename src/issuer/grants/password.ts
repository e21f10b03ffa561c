import { errors, type Provider } from 'oidc-provider'
import { type IssuerParts, resourceServerOf } from '../configuration.ts'
import { type SignInCheck, SignInRefused } from '../sign-in.ts'

interface Parameters {
  readonly username?: string
  readonly password?: string
  readonly scope?: string
}

/**
 * The resource owner password credentials grant (RFC 6749 §4.3), for demonstrations and old clients: RFC 9700 §2.4
 * says not to use it, so it is offered only when services.json names it. No ID token: OpenID Connect knows none here.
 */
export function registerPassword(
  provider: Provider,
  parts: IssuerParts,
  signIn: SignInCheck,
  addressOf: (ctx: object) => string,
): void {
  const { scopes, publicUrl, settings } = parts

  provider.registerGrantType<Parameters>(
    'password',
    async function passwordGrant(ctx) {
      const { client, params } = ctx.oidc
      const { username = '', password = '', scope = '' } = params
      const result = await signIn(username, password, addressOf(ctx))
      if (result.outcome === 'malformed') throw new errors.InvalidRequest('username and password are needed')
      if (result.outcome === 'refused') {
        ctx.set('Retry-After', String(result.retryAfter))
        throw new SignInRefused(result.reason)
      }
      if (result.outcome === 'wrong') {
        const wrong = new errors.InvalidGrant('wrong user name or password')
        wrong.error_description = 'wrong user name or password'
        throw wrong
      }

      const accountId = result.user.subject
      const { openId, api } = scopes.granted(client.clientId, scope)
      const grant = new provider.Grant({ clientId: client.clientId, accountId })
      if (openId.length > 0) grant.addOIDCScope(openId)
      if (api.length > 0) grant.addResourceScope(publicUrl, api)
      const grantId = await grant.save()

      const accessToken = new provider.AccessToken({
        accountId,
        client,
        grantId,
        gty: 'password',
        scope: api.join(' '),
      })
      accessToken.resourceServer = new provider.ResourceServer(publicUrl, resourceServerOf(parts, client.clientId))
      ctx.oidc.entity('AccessToken', accessToken)

      let refreshToken: string | undefined
      if (settings.grants.includes('refresh_token') && client.grantTypeAllowed('refresh_token')) {
        const token = new provider.RefreshToken({
          accountId,
          client,
          grantId,
          gty: 'password',
          scope: api.join(' '),
          resource: publicUrl,
          rotations: 0,
        })
        ctx.oidc.entity('RefreshToken', token)
        refreshToken = await token.save()
      }
      ctx.body = {
        access_token: await accessToken.save(),
        token_type: 'Bearer',
        expires_in: accessToken.expiration,
        ...(refreshToken !== undefined && { refresh_token: refreshToken }),
        scope: api.join(' '),
      }
    },
    ['username', 'password', 'scope'],
  )
}
