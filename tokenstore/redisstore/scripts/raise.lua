-- Begins to raise the ceiling of a slice, and opens a new epoch before where there is one. What it
-- writes must be on the replicas before confirm.lua makes the ceiling effective.
--
-- KEYS: the slice's state. ARGV: lead, skew, in seconds; the last epoch that the caller has seen, and the
-- highest pending ceiling in it.
-- Returns {epoch, term, pending ceiling, floor, now, 1 if the server is the master of a Cluster that
-- was promoted and has had no replica since}. The term differs from all others, also after a FLUSHALL,
-- which does not begin a new epoch.

-- Without the ceiling nothing could be read or removed on a server whose memory is full. Such a
-- server refuses a script at its first command that may need memory: this one needs none.
redis.call('HDEL', KEYS[1], '')
local info = redis.call('INFO', 'replication')
local id = epoch(info)
local now = seconds()
local lead, skew = tonumber(ARGV[1]), tonumber(ARGV[2])
local s = redis.call('HMGET', KEYS[1], 'id', 'floor', 'ceiling', 'pending', 'term', 'alone')
local floor, ceiling = tonumber(s[2]) or 0, tonumber(s[3]) or 0
local pending = tonumber(s[4]) or 0
local term = s[5]
local alone = term and s[6] == term -- what was found in another term does not count

-- A replica that came and went between two looks is in the counters of the server's life, if nobody
-- has reset them since. What the server got as a replica is in one of them, too: a master that was
-- started again has got nothing.
local function without_replica()
  if not string.find(info, 'connected_slaves:0', 1, true) then
    return false
  end
  local stats = redis.call('INFO', 'stats')
  local none = string.find(stats, 'sync_full:0', 1, true) and string.find(stats, 'sync_partial_ok:0', 1, true)
  return none, stats
end
local function promoted(stats)
  return string.find(stats, 'total_net_repl_input_bytes:[1-9]') and
    string.find(redis.call('INFO', 'cluster'), 'cluster_enabled:1', 1, true)
end

-- The memory of a server can be older than a moment ago, though it was not started again: its machine
-- was set back to a snapshot. Its clock may have gone back, too, and tells nothing then about what was
-- accepted: that was all below the ceiling that the caller has seen. In an epoch it never goes down, not
-- even with a new term.
local seen = tonumber(ARGV[4])
local set_back = id == ARGV[3] and pending < seen
if s[1] ~= id or set_back then
  floor = math.max(floor, ceiling, pending, now + lead + skew, seen)
  ceiling = floor
  local time = redis.call('TIME')
  term = id .. '.' .. time[1] .. '.' .. time[2]
  local without, stats = without_replica()
  alone = without and promoted(stats)
  redis.call('HSET', KEYS[1], 'id', id, 'term', term, 'floor', floor, 'ceiling', ceiling)
  redis.call('HSET', KEYS[1], 'alone', alone and term or 0)
elseif alone and not without_replica() then
  alone = false
  redis.call('HSET', KEYS[1], 'alone', 0) -- for the rest of the term
end
pending = math.max(pending, ceiling, now + lead)
redis.call('HSET', KEYS[1], 'pending', pending)
return {id, term, pending, floor, now, alone and 1 or 0}
