-- Ends a bulk revocation in a slice when its tokens are removed. Its mark stays while another
-- revocation with the same mark is not finished.
--
-- KEYS: the slice's marks; its work; the lists of what is to be removed. ARGV: the mark; the name
-- of the work. Returns 1, or 0 if a list is not empty: another server said that it was.
if redis.call('EXISTS', unpack(KEYS, 3)) > 0 then
  return 0
end
redis.call('HDEL', KEYS[2], ARGV[2])
local work = redis.call('HVALS', KEYS[2])
for i = 1, #work do
  if string.match(work[i], '^%d+ (.*)$') == ARGV[1] then
    return 1
  end
end
redis.call('HDEL', KEYS[1], ARGV[1])
return 1
