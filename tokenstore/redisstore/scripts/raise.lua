-- Begins to raise the ceiling of a slice, and opens a new epoch before where there is one. What it
-- writes must be on the replicas before confirm.lua makes the ceiling effective.
--
-- KEYS: the slice's state. ARGV: lead, skew, in seconds.
-- Returns {epoch, pending ceiling, floor, now}.
local id = epoch()
local now = seconds()
local lead, skew = tonumber(ARGV[1]), tonumber(ARGV[2])
local s = redis.call('HMGET', KEYS[1], 'id', 'floor', 'ceiling', 'pending')
local floor, ceiling = tonumber(s[2]) or 0, tonumber(s[3]) or 0
local pending = tonumber(s[4]) or 0
if s[1] ~= id then
  floor = math.max(floor, ceiling, pending, now + lead + skew)
  ceiling = floor
  redis.call('HSET', KEYS[1], 'id', id, 'floor', floor, 'ceiling', ceiling)
end
pending = math.max(pending, ceiling, now + lead)
redis.call('HSET', KEYS[1], 'pending', pending)
return {id, pending, floor, now}
