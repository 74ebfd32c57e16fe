-- Comes before the scripts that remember nonces.

-- A bucket is kept so much longer than its nonces are remembered, in seconds: more than the seconds
-- after which look.lua notes the time again.
local spare = 10

-- Returns how long the nonces of a timestamp are remembered, in seconds after it. A bucket is gone
-- once that is over. All nonces of one timestamp have one span: a wider one begins with timestamps
-- that no bucket has yet. What comes after now are fields of the state with the same names.
local function remembered(state, timestamp, wanted, now, span, narrow, wide_from)
  span = tonumber(span)
  if not span then
    span = wanted
    redis.call('HSET', state, 'span', span)
  elseif wanted > span then
    local from = now + span + 60
    local least = span
    if wide_from and tonumber(wide_from) > now - span then
      least = math.min(least, tonumber(narrow))
    end
    redis.call('HSET', state, 'span', wanted, 'narrow', least, 'wide_from', from)
    span, narrow, wide_from = wanted, least, from
  end
  if wide_from and timestamp <= tonumber(wide_from) then
    return tonumber(narrow)
  end
  return span
end

-- Adds a nonce to its bucket. Returns false if it is there.
local function remember(bucket, digest, timestamp, span)
  if redis.call('HSETNX', bucket, digest, '') == 0 then
    return false
  end
  if redis.call('HLEN', bucket) == 1 then
    redis.call('EXPIREAT', bucket, timestamp + span + spare)
  end
  return true
end
