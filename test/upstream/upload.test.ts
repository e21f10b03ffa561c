import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { setImmediate as immediately } from 'node:timers/promises'
import { WholeBody } from '../../src/upstream/upload.ts'
import { Watch } from '../../src/upstream/watch.ts'

test('a body that nobody waits for any more is not taken for whole when its rest comes', async () => {
  const clock = () => performance.now()
  const bodies: string[] = []
  const read = (req: PassThrough) =>
    new WholeBody(
      req as unknown as IncomingMessage,
      1_000,
      { watch: new Watch(clock), clock },
      (content) => void bodies.push(content.toString()),
      () => {},
    )
  const [waited, refused] = [new PassThrough(), new PassThrough()]
  read(waited)
  const body = read(refused)
  for (const req of [waited, refused]) req.write('half')
  await immediately()
  body.destroy()
  refused.resume()
  for (const req of [waited, refused]) req.end(' and the rest')
  await immediately()
  await immediately()
  assert.deepEqual(bodies, ['half and the rest'])
})
