-- Raises the floor of a slice: no nonce with a timestamp up to it is accepted, and nothing is
-- written until the clock has passed it.
--
-- KEYS: the slice's state. ARGV: a timestamp; how many seconds ahead of the clock, or ''.
-- Returns {the floor before, the clock, 0}, or {'epoch', 0}.
redis.call('HDEL', KEYS[1], '') -- it works with a full memory, too: see raise.lua
local s = redis.call('HMGET', KEYS[1], 'id', 'floor')
if s[1] ~= epoch() then
  return {'epoch', 0}
end
local now = seconds()
local before = tonumber(s[2])
local floor = math.max(before, tonumber(ARGV[1]))
if ARGV[2] ~= '' then
  floor = math.max(floor, now + tonumber(ARGV[2]))
end
redis.call('HSET', KEYS[1], 'floor', floor)
return {before, now, 0}
