-- Comes before every other script.
--
-- The epoch of a slice is the replication ID of its master. It changes when a replica is promoted,
-- when a server starts, and when the slot moves to another master: whenever the data may be older
-- than what was acknowledged. A replica has none, and executes nothing.
local function epoch(info)
  local id = string.match(info or redis.call('INFO', 'replication'), 'role:master.*master_replid:(%x+)')
  if not id then
    error({err = 'READONLY this server is a replica now'})
  end
  return id
end

-- The server's clock, in seconds.
local function seconds()
  return tonumber(redis.call('TIME')[1])
end
