-- Counts a request token, or a self-registered consumer, or both, if the limits allow it.
--
-- KEYS: the request tokens of all consumers; those of the consumer that wait; those of the consumer
--       that are stored; those of self-registered consumers; the self-registered consumers without
--       an access token.
-- ARGV: now; the request token's key; how many it counts as; when it waits no longer; when it is
--       removed; the limits of the four sets of request tokens; 1 if the consumer registered itself;
--       1 if it registers itself now; its key; when it is forgotten; the limit of such consumers;
--       1 to count nothing. Times are milliseconds.
-- Returns 'ok', 'consumer', 'all' or 'consumers': what there is too much of.
for i = 1, 4 do
  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', ARGV[1])
end
local weight = tonumber(ARGV[3])
local self = ARGV[10] == '1'
local function full(i)
  return redis.call('ZCARD', KEYS[i]) + weight > tonumber(ARGV[5 + i])
end
if weight > 0 then
  if full(2) or full(3) then
    return 'consumer'
  end
  if full(1) or (self and full(4)) then
    return 'all'
  end
end
if ARGV[11] == '1' and redis.call('ZCARD', KEYS[5]) >= tonumber(ARGV[14]) then
  return 'consumers'
end
if ARGV[15] == '1' then
  return 'ok'
end
for i = 1, weight do
  local member = ARGV[2] .. '\0' .. i
  redis.call('ZADD', KEYS[1], ARGV[5], member)
  redis.call('ZADD', KEYS[2], ARGV[4], member)
  redis.call('ZADD', KEYS[3], ARGV[5], member)
  if self then
    redis.call('ZADD', KEYS[4], ARGV[5], member)
  end
end
for i = 2, 3 do -- the sets of the consumer end with their last member
  if weight > 0 and redis.call('PEXPIRETIME', KEYS[i]) < tonumber(ARGV[5]) then
    redis.call('PEXPIREAT', KEYS[i], ARGV[5])
  end
end
if ARGV[11] == '1' then
  redis.call('ZADD', KEYS[5], ARGV[13], ARGV[12])
end
return 'ok'
