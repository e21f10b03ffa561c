import { existsSync, readFileSync, realpathSync } from 'node:fs'
import { join } from 'node:path'

const beside = join(import.meta.dirname, '..', '..', 'shared')

/** Whether the attack vectors and the document corpus lie beside the project. They always do in CI. */
export const hasShared = existsSync(beside)

// Tests that compare paths must see the folder itself when it is a link.
const shared = hasShared ? realpathSync(beside) : beside

if (!hasShared && process.env['CI'] === 'true')
  throw new Error('CI must run with the shared vectors and corpus beside the project')

/** For `test(title, { skip })`: a reason to skip when the shared material is not there. */
export const skipWithoutShared = hasShared ? false : 'the shared vectors and corpus are not beside the project'

/** Path of a file of the shared material: `sharedPath('vectors', 'jwt-attacks.json')`. */
export function sharedPath(...segments: string[]): string {
  return join(shared, ...segments)
}

/** One parsed JSON file of the shared vectors. */
// biome-ignore lint/suspicious/noExplicitAny: vectors are data of many shapes; each test names the fields it reads
export function vectors(name: string): any {
  return JSON.parse(readFileSync(sharedPath('vectors', name), 'utf8'))
}
