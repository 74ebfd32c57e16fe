-- Comes before the scripts that use the indexes of access tokens.
--
-- An index is a sorted set of keys with the score 0. Redis packs a sorted set of up to 128 members
-- into a fifth of the memory. So an index with more of them is a directory: its members stand for
-- leaves, which are sorted sets of up to 128 keys. They have the score 1, and each is the least key
-- that its leaf may have, a zero byte, and the leaf's number. The first one's least key is empty. A
-- leaf has a key of its own: base and its number. All leaves of a slice have one base, so an index
-- can be renamed with all its leaves. base itself holds the number of the last leaf.

local leafSize = 128

-- While a slot is moved, leaves may be on another server than the index, and a script can't reach
-- them. Then nothing must be done by halves: the caller tries again. It is asked before a script
-- writes.
local function moving()
  error({err = 'TRYAGAIN the leaves of an index are being moved'})
end

-- Refuses if leaves can't be made: a server that moves a slot refuses all keys that it does not have.
local function whole(base)
  if type(redis.pcall('EXISTS', base .. '0')) ~= 'number' then
    moving()
  end
end

-- Returns how many keys a leaf has. None is empty. A server that gets a slot takes what it does not
-- have yet for empty.
local function size(leaf)
  local n = redis.pcall('ZCARD', leaf)
  if type(n) ~= 'number' or n == 0 then
    moving()
  end
  return n
end

-- Returns whether an index is a directory.
local function directory(index)
  return redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2] == '1'
end

-- A key as it stands before the zero byte: it has none itself, and the order stays.
local function escaped(key)
  if string.find(key, '[%z\1]') then
    key = string.gsub(key, '[%z\1]', {['\0'] = '\1\1', ['\1'] = '\1\2'})
  end
  return key
end

local function leafOf(entry, base)
  return base .. string.match(entry, '%z(%d+)$')
end

-- Returns the sorted set in which a key has its place, how many members that has, and what stands
-- for it in the directory.
local function place(index, base, key)
  if not directory(index) then
    return index, redis.call('ZCARD', index)
  end
  local entry = redis.call('ZRANGE', index, '[' .. escaped(key) .. '\0\255', '-', 'BYLEX', 'REV', 'LIMIT', 0, 1)[1]
  local leaf = leafOf(entry, base)
  return leaf, size(leaf), entry
end

-- Moves the last members of a full leaf into a new one.
local function split(index, base, leaf, entry)
  if not entry then
    entry = '\0' .. redis.call('INCR', base)
    leaf = leafOf(entry, base)
    redis.call('RENAME', index, leaf)
    redis.call('ZADD', index, 1, entry)
  end
  local last = redis.call('ZRANGE', leaf, -leafSize / 2, -1)
  redis.call('ZREM', leaf, unpack(last))
  entry = escaped(last[1]) .. '\0' .. redis.call('INCR', base)
  leaf = leafOf(entry, base)
  redis.call('DEL', leaf)
  local members = {}
  for i = 1, #last do
    members[2 * i - 1], members[2 * i] = 0, last[i]
  end
  redis.call('ZADD', leaf, unpack(members))
  redis.call('ZADD', index, 1, entry)
end

local function add(index, base, key)
  local leaf, n, entry = place(index, base, key)
  if n >= leafSize and not redis.call('ZSCORE', leaf, key) then
    split(index, base, leaf, entry)
    leaf = place(index, base, key)
  end
  redis.call('ZADD', leaf, 0, key)
end

local function remove(index, base, key)
  local leaf, n, entry = place(index, base, key)
  if redis.call('ZREM', leaf, key) == 0 or not entry or n > 1 then
    return
  end
  redis.call('ZREM', index, entry)
  if string.byte(entry) == 0 then -- the next leaf takes what is less than its keys, too
    local following = redis.call('ZRANGE', index, 0, 0)[1]
    if following then
      redis.call('ZREM', index, following)
      redis.call('ZADD', index, 1, string.match(following, '%z%d+$'))
    end
  end
end

-- Returns how many keys the leaves have that stand after an entry of the directory, or after the start
-- with ''; and the last of these entries, or '' where the index ends. It looks at so many leaves at
-- most; -1 is all.
local function count(index, base, after, leaves)
  if not directory(index) then
    return redis.call('ZCARD', index), ''
  end
  local from = '-'
  if after ~= '' then
    from = '(' .. after
  end
  local total = 0
  local entries = redis.call('ZRANGE', index, from, '+', 'BYLEX', 'LIMIT', 0, leaves)
  for i = 1, #entries do
    total = total + size(leafOf(entries[i], base))
  end
  if #entries == leaves then
    return total, entries[leaves]
  end
  return total, ''
end
