-- Comes before every other script.
--
-- The epoch of a slice is the replication ID of its master. It changes when a replica is promoted,
-- when a server starts, and when the slot moves to another master: whenever the data may be older
-- than what was acknowledged. A replica has none, and executes nothing.
local function epoch(info)
  info = info or redis.call('INFO', 'replication')
  if not string.find(info, 'role:master', 1, true) then
    error({err = 'READONLY this server is a replica now'})
  end
  -- A plain search takes a tenth of the time of a pattern.
  local _, last = string.find(info, 'master_replid:', 1, true)
  return string.match(info, '^%x+', last + 1)
end

-- The server's clock, in seconds.
local function seconds()
  return tonumber(redis.call('TIME')[1])
end
