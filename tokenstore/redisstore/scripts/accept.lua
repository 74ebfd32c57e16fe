-- Accepts a nonce, once.
--
-- KEYS: the slice's state; the bucket of nonces; the access token, if one is to be checked.
-- ARGV: timestamp; digest of the nonce; how long it is remembered, in seconds after the timestamp;
--       the token's version; the slice's revision when the token was read; 1 if the timestamp may
--       lie above the ceiling.
-- Returns how many seconds the ceiling is ahead of the clock, or {reason, number}.
local timestamp = tonumber(ARGV[1])
local span = tonumber(ARGV[3])
local info = redis.call('INFO', 'replication')
local s = redis.call('HMGET', KEYS[1], 'id', 'floor', 'ceiling', 'span', 'narrow', 'wide_from', 'rev')
if s[1] ~= epoch(info) then
  return {'epoch', 0}
end
if KEYS[3] then
  if redis.call('GETRANGE', KEYS[3], 0, 7) ~= ARGV[4] then
    return {'gone', 0}
  end
  if (s[7] or '0') ~= ARGV[5] then
    return {'stale', 0}
  end
end
local now = seconds()
local floor = tonumber(s[2])
if timestamp <= floor then
  return {'floor', floor - timestamp + 1}
end

-- A bucket is gone once its span is over. All nonces of one timestamp have one span: a wider one
-- begins with timestamps that no bucket has yet.
local remembered = tonumber(s[4])
if not remembered then
  remembered = span
  redis.call('HSET', KEYS[1], 'span', span)
elseif span > remembered then
  local from = now + remembered + 60
  local narrow = remembered
  if s[6] and tonumber(s[6]) > now - remembered then
    narrow = math.min(narrow, tonumber(s[5]))
  end
  redis.call('HSET', KEYS[1], 'span', span, 'narrow', narrow, 'wide_from', from)
  s[5], s[6] = narrow, from
  remembered = span
end
if s[6] and timestamp <= tonumber(s[6]) then
  remembered = tonumber(s[5])
end
if now >= timestamp + remembered then
  return {'forgotten', 0}
end

local ceiling = tonumber(s[3])
if timestamp > ceiling then
  if ARGV[6] ~= '1' then
    return {'ahead', ceiling - now}
  end
  if now <= floor then
    return {'floor', floor - now + 1}
  end
end
if redis.call('HSETNX', KEYS[2], ARGV[2], '') == 0 then
  return {'used', 0}
end
if redis.call('HLEN', KEYS[2]) == 1 then
  redis.call('EXPIREAT', KEYS[2], timestamp + remembered)
end
if timestamp > ceiling then
  return {'accepted', tonumber(string.match(info, 'connected_slaves:(%d+)')) or 0}
end
return ceiling - now
