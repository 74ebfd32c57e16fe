-- Makes a pending ceiling effective, if the term is still the same.
--
-- KEYS: the slice's state. ARGV: term; ceiling. Returns 1, or 0 in another term.
local s = redis.call('HMGET', KEYS[1], 'id', 'ceiling', 'term')
if s[3] ~= ARGV[1] or s[1] ~= epoch() then
  return 0
end
if tonumber(s[2]) < tonumber(ARGV[2]) then
  redis.call('HDEL', KEYS[1], '') -- as in raise.lua
  redis.call('HSET', KEYS[1], 'ceiling', ARGV[2])
end
return 1
