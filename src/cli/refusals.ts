import { InvalidConfiguration } from '../config/load.ts'
import { IssuerRefused } from '../issuer/settings.ts'
import { InvalidUsers } from '../issuer/users.ts'
import { CannotListen } from '../server.ts'
import { CannotShare, StoreUnavailable } from '../store/store.ts'

export { InvalidConfiguration }

const forOperators = [
  InvalidConfiguration,
  InvalidUsers,
  IssuerRefused,
  StoreUnavailable,
  CannotShare,
  CannotListen,
] as const

/** What an operator mends, in services.json or around it: no stack says more than the message. */
export function isForOperator(error: unknown): error is InstanceType<(typeof forOperators)[number]> {
  return forOperators.some((Kind) => error instanceof Kind)
}
