import { hashPassword } from '../issuer/password.ts'
import { type Command, UsageError } from './command.ts'

/** The `passwordHash` of a user of the embedded issuer. The password never stands in the command line, which others can read. */
export const users: Command = {
  usage: 'users hash',
  summary: 'read a password, typed or piped in, and print its argon2id hash for the users file',
  async run([verb, ...rest], { json }, { out, err, readSecret }) {
    if (verb !== 'hash' || rest.length > 0) throw new UsageError('users is followed by "hash" and nothing else')
    const password = await readSecret?.('Password: ')
    if (!password) {
      err('sallyport: the password is empty')
      return 1
    }
    const passwordHash = await hashPassword(password)
    out(json ? JSON.stringify({ passwordHash }) : passwordHash)
    return 0
  },
}
