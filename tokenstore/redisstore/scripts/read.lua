-- Reads records of a slice, together with what tells whether they are revoked.
--
-- KEYS: the slice's state; its marks; any number of records.
-- Returns {seconds that the ceiling is ahead of the clock (below 0: the answer proves nothing until
-- the ceiling is raised), epoch, revision, marks and their revisions, a record or false for each key}.
local s = redis.call('HMGET', KEYS[1], 'id', 'ceiling', 'rev')
local id = epoch()
local ahead = -1
if s[1] == id then
  ahead = tonumber(s[2]) - seconds()
end
local records = {}
for i = 3, #KEYS do
  records[i - 2] = redis.call('GET', KEYS[i])
end
return {ahead, id, s[3] or '0', redis.call('HGETALL', KEYS[2]), unpack(records)}
