-- Writes to a slice, if nothing has changed since its records were read.
--
-- KEYS: the slice's state; any number of keys.
-- ARGV: the revision, or '' if it does not matter; the number n of conditions, which are about the
--       first n keys after the state; n values that these keys must have: '' if there must be none;
--       then any number of commands: name, number of the key in KEYS, number of arguments, the
--       arguments. Beside those of Redis there are INDEX and UNINDEX. Their key is an index of access
--       tokens, and their arguments are the base of leaves and keys.
-- Returns 1; 0 if a condition is not met; {'epoch', 0} or {'floor', seconds} if the slice is not
-- ready for writing.
local s = redis.call('HMGET', KEYS[1], 'id', 'floor', 'rev')
if s[1] ~= epoch() then
  return {'epoch', 0}
end
local now = seconds()
if now <= tonumber(s[2]) then
  -- Until then, a former master that is cut off may still answer from older data.
  return {'floor', tonumber(s[2]) - now + 1}
end
if ARGV[1] ~= '' and ARGV[1] ~= (s[3] or '0') then
  return 0
end
local conditions = tonumber(ARGV[2])
for i = 1, conditions do
  if (redis.call('GET', KEYS[1 + i]) or '') ~= ARGV[2 + i] then
    return 0
  end
end

local changes = {INDEX = add, UNINDEX = remove}
local i = 3 + conditions
local asked = false
while i <= #ARGV do -- nothing is written before it is known that all leaves are here
  local n = tonumber(ARGV[i + 2])
  if changes[ARGV[i]] and not asked then
    whole(ARGV[i + 3])
    asked = true
  end
  if ARGV[i] == 'UNINDEX' then -- a new token has a new key, which a server that gets a slot refuses
    for j = i + 4, i + 2 + n do
      place(KEYS[tonumber(ARGV[i + 1])], ARGV[i + 3], ARGV[j])
    end
  end
  i = i + 3 + n
end

i = 3 + conditions
while i <= #ARGV do
  local n = tonumber(ARGV[i + 2])
  local key, change = KEYS[tonumber(ARGV[i + 1])], changes[ARGV[i]]
  if change then
    for j = i + 4, i + 2 + n do
      change(key, ARGV[i + 3], ARGV[j])
    end
  else
    redis.call(ARGV[i], key, unpack(ARGV, i + 3, i + 2 + n))
  end
  i = i + 3 + n
end
return 1
