-- Reads an index of access tokens in the order of keys.
--
-- KEYS: the index; the base of leaves. ARGV: the key after which it begins, or '' for the first; how
-- many keys. Returns the keys.
local index, base = KEYS[1], KEYS[2]
local from, wanted = '-', tonumber(ARGV[2])
if ARGV[1] ~= '' then
  from = '(' .. ARGV[1]
end
local leaf, _, entry = place(index, base, ARGV[1])
local keys = redis.call('ZRANGE', leaf, from, '+', 'BYLEX', 'LIMIT', 0, wanted)
while entry and #keys < wanted do
  entry = redis.call('ZRANGE', index, '(' .. entry, '+', 'BYLEX', 'LIMIT', 0, 1)[1]
  if entry then
    leaf = leafOf(entry, base)
    size(leaf) -- refuses if the leaf is elsewhere
    local more = redis.call('ZRANGE', leaf, 0, wanted - #keys - 1)
    for i = 1, #more do
      keys[#keys + 1] = more[i]
    end
  end
end
return keys
