-- Returns the epoch of the slice, or an empty text if its server has begun another one.
--
-- KEYS: the slice's state.
local id = redis.call('HGET', KEYS[1], 'id')
if id and id == epoch() then
  return id
end
return ''
