-- Notes when access tokens were last used.
--
-- KEYS: the tokens. ARGV: a time for each, as it stands in the record, so that later times compare
-- higher. Returns 1.
for i = 1, #KEYS do
  local last = redis.call('GETRANGE', KEYS[i], 8, 15)
  if #last == 8 and last < ARGV[i] then
    redis.call('SETRANGE', KEYS[i], 8, ARGV[i])
  end
end
return 1
