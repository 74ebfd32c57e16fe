-- Makes a pending ceiling effective, if the epoch is still the same.
--
-- KEYS: the slice's state. ARGV: epoch; ceiling. Returns 1, or 0 in another epoch.
local s = redis.call('HMGET', KEYS[1], 'id', 'ceiling')
if s[1] ~= ARGV[1] or epoch() ~= ARGV[1] then
  return 0
end
if tonumber(s[2]) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'ceiling', ARGV[2])
end
return 1
