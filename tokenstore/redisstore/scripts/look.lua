-- Returns the term of the slice, or an empty text if its server has begun a new epoch.
--
-- KEYS: the slice's state.
local s = redis.call('HMGET', KEYS[1], 'id', 'term')
if s[1] and s[1] == epoch() then
  return s[2]
end
return ''
