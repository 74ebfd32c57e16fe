-- Comes before every other script.
--
-- The epoch of a slice is the replication ID of its master. It changes when a replica is promoted,
-- when a server starts, and when the slot moves to another master: whenever the data may be older
-- than what was acknowledged. A replica has none.
local function epoch(info)
  return string.match(info or redis.call('INFO', 'replication'), 'role:master.*master_replid:(%x+)')
end

-- The server's clock, in seconds.
local function seconds()
  return tonumber(redis.call('TIME')[1])
end
