-- Returns the term of the slice, or an empty text if its server has begun a new epoch; how many seconds
-- its clock is behind the latest time that the slice has seen; and the pending ceiling.
--
-- It notes that time every few seconds, so that accept.lua knows which buckets may be gone after the
-- clock was set back. A server that can't write now is asked again.
--
-- KEYS: the slice's state.
local s = redis.call('HMGET', KEYS[1], 'id', 'term', 'clock', 'pending')
if not s[1] or s[1] ~= epoch() then
  return {'', 0, 0}
end
local now = seconds()
local latest = tonumber(s[3]) or 0
if now - latest >= 5 then
  redis.pcall('HDEL', KEYS[1], '') -- as in raise.lua
  redis.pcall('HSET', KEYS[1], 'clock', now)
end
return {s[2] or '', math.max(0, latest - now), tonumber(s[4]) or 0}
