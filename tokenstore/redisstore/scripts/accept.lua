-- Accepts a nonce, once.
--
-- KEYS: the slice's state; the bucket of nonces; the access token, if one is to be checked.
-- ARGV: timestamp; digest of the nonce; how long it is remembered, in seconds after the timestamp;
--       the token's version; the slice's revision when the token was read; 1 if the timestamp may
--       lie above the ceiling; the epoch and the pending ceiling that the caller has seen.
-- Returns how many seconds the ceiling is ahead of the clock, or {reason, number}.
local timestamp = tonumber(ARGV[1])
local span = tonumber(ARGV[3])
local info = redis.call('INFO', 'replication')
local s = redis.call('HMGET', KEYS[1],
  'id', 'floor', 'ceiling', 'span', 'narrow', 'wide_from', 'rev', 'clock', 'pending')
local set_back = s[1] == ARGV[7] and (tonumber(s[9]) or 0) < tonumber(ARGV[8]) -- see raise.lua
if s[1] ~= epoch(info) or set_back then
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

local kept = remembered(KEYS[1], timestamp, span, now, s[4], s[5], s[6])
-- A clock that was set back brings no bucket back.
if math.max(now, tonumber(s[8]) or 0) >= timestamp + kept then
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
elseif now > ceiling then -- whether the server knows all earlier nonces is found out when it is raised
  return {'ahead', ceiling - now}
end
if not remember(KEYS[2], ARGV[2], timestamp, kept) then
  return {'used', 0}
end
if timestamp > ceiling then
  return {'accepted', tonumber(string.match(info, 'connected_slaves:(%d+)')) or 0}
end
return ceiling - now
