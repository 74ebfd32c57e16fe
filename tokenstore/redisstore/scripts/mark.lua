-- Revokes all tokens of a consumer, of a user, or of both, in one slice. The tokens are refused from
-- now on. Their keys become lists, from which they are removed later.
--
-- KEYS: the slice's state; its marks; its work; a key that is written in any case, since the WAIT
--       after this script proves nothing without a write; then any number of times: the index of
--       access tokens; the list that it becomes; the index of request tokens; the list that it
--       becomes.
-- ARGV: the mark; the name of the work; 1 if the indexes are to stay as they are; the base of leaves.
-- Returns {revision, number of access tokens in the index}, with the revision '0' if there is
-- nothing to revoke; or {'epoch', 0} or {'floor', seconds}, as write.lua.
local s = redis.call('HMGET', KEYS[1], 'id', 'floor', 'rev')
if s[1] ~= epoch() then
  return {'epoch', 0}
end
local time = redis.call('TIME')
local now = tonumber(time[1])
if now <= tonumber(s[2]) then
  return {'floor', tonumber(s[2]) - now + 1}
end
local tokens, requests = 0, 0
for i = 5, #KEYS, 4 do
  tokens = tokens + count(KEYS[i], ARGV[4], '', -1)
  requests = requests + redis.call('ZCARD', KEYS[i + 2])
end
redis.call('HDEL', KEYS[1], '') -- it works with a full memory, too: see raise.lua
redis.call('SET', KEYS[4], time[1])
if tokens + requests == 0 then
  return {'0', 0}
end

-- The clock makes sure that no revision is used twice, also when a failover has lost one.
local rev = math.max(tonumber(s[3] or '0') + 1, now * 1000000 + tonumber(time[2]))
rev = string.format('%.0f', rev)
redis.call('HSET', KEYS[1], 'rev', rev)
redis.call('HSET', KEYS[2], ARGV[1], rev)
redis.call('HSET', KEYS[3], ARGV[2], rev .. ' ' .. ARGV[1])
for i = 5, #KEYS, 2 do
  if ARGV[3] == '1' then
    redis.call('ZUNIONSTORE', KEYS[i + 1], 1, KEYS[i])
  elseif redis.call('EXISTS', KEYS[i]) == 1 then
    redis.call('RENAME', KEYS[i], KEYS[i + 1])
  end
end
return {rev, tokens}
