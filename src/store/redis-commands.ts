/**
 * The Lua that runs inside Redis, where a script is one indivisible step. An entry is a hash of `v` (JSON), `r`
 * (revision), `x` (expiry in seconds, or empty) and `g` (group, or empty). Sorted sets by expiry say which keys a
 * collection or a group has; members whose time is over are dropped on the way.
 */

const shared = `
local function alive(entry, now)
  local fields = redis.call('HMGET', entry, 'r', 'x', 'g')
  if not fields[1] then return nil end
  if fields[2] ~= '' and tonumber(fields[2]) <= tonumber(now) then return nil end
  return fields
end

local function remember(set, key, score, now)
  redis.call('ZREMRANGEBYSCORE', set, '-inf', now)
  redis.call('ZADD', set, score, key)
  local last = redis.call('ZREVRANGE', set, 0, 0, 'WITHSCORES')[2]
  if last == 'inf' then redis.call('PERSIST', set)
  else redis.call('PEXPIREAT', set, math.ceil(tonumber(last) * 1000)) end
end
`

const write = `${shared}
local entry, index, counter = KEYS[1], KEYS[2], KEYS[3]
local mode, key, value, expires, group, groups, revision, now = unpack(ARGV)
local old = alive(entry, now)
if mode == 'create' and old then return 0 end
if mode == 'replace' and not (old and old[1] == revision) then return 0 end
-- Ahead of DEL: Redis refuses a script for want of memory only until it has written something.
local next = redis.call('INCR', counter)
if old and old[3] ~= '' and old[3] ~= group then redis.call('ZREM', groups .. old[3], key) end
redis.call('DEL', entry)
redis.call('HSET', entry, 'v', value, 'r', next, 'x', expires, 'g', group)
local score = expires == '' and '+inf' or expires
if expires ~= '' then redis.call('PEXPIREAT', entry, math.ceil(tonumber(expires) * 1000)) end
remember(index, key, score, now)
if group ~= '' then remember(groups .. group, key, score, now) end
return 1
`

const remove = `${shared}
local entry, index = KEYS[1], KEYS[2]
local key, groups, now = unpack(ARGV)
local old = alive(entry, now)
redis.call('DEL', entry)
redis.call('ZREM', index, key)
if not old then return 0 end
if old[3] ~= '' then redis.call('ZREM', groups .. old[3], key) end
return 1
`

const removeGroup = `${shared}
local members, index = KEYS[1], KEYS[2]
local entries, group, now = unpack(ARGV)
local deleted = 0
for _, key in ipairs(redis.call('ZRANGE', members, 0, -1)) do
  local old = alive(entries .. key, now)
  if old and old[3] == group then
    redis.call('DEL', entries .. key)
    redis.call('ZREM', index, key)
    deleted = deleted + 1
  end
end
redis.call('DEL', members)
return deleted
`

const list = `
local members = KEYS[1]
local entries = ARGV[1]
local found = {}
for _, key in ipairs(redis.call('ZRANGE', members, 0, -1)) do
  local fields = redis.call('HMGET', entries .. key, 'v', 'r', 'x', 'g')
  if fields[1] then
    found[#found + 1] = key
    for at = 1, 4 do found[#found + 1] = fields[at] end
  else
    redis.call('ZREM', members, key)
  end
end
return found
`

/** For ioredis' `scripts`. */
export const commands = {
  storeWrite: { lua: write, numberOfKeys: 3 },
  storeDelete: { lua: remove, numberOfKeys: 2 },
  storeDeleteGroup: { lua: removeGroup, numberOfKeys: 2 },
  storeList: { lua: list, numberOfKeys: 1 },
} as const

type Argument = string | number

/** What ioredis makes of `commands`: keys first, then arguments, in the order the scripts read them. */
export interface StoreCommands {
  storeWrite(entry: string, index: string, counter: string, ...rest: readonly Argument[]): Promise<number>
  storeDelete(entry: string, index: string, ...rest: readonly Argument[]): Promise<number>
  storeDeleteGroup(members: string, index: string, ...rest: readonly Argument[]): Promise<number>
  storeList(members: string, ...rest: readonly Argument[]): Promise<string[]>
}
