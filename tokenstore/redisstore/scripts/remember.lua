-- Puts nonces back that the servers may have lost, with the span that their timestamps have.
--
-- KEYS: the slice's state; the buckets of any number of nonces.
-- ARGV: how long the nonces are remembered, in seconds after the timestamp; for each nonce its
--       timestamp and its digest. Returns 1.
epoch() -- a replica executes nothing
local now = seconds()
for i = 2, #KEYS do
  local timestamp, digest = tonumber(ARGV[2 * i - 2]), ARGV[2 * i - 1]
  local s = redis.call('HMGET', KEYS[1], 'span', 'narrow', 'wide_from')
  remember(KEYS[i], digest, timestamp, remembered(KEYS[1], timestamp, tonumber(ARGV[1]), now, s[1], s[2], s[3]))
end
return 1
