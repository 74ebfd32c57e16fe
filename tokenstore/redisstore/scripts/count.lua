-- Counts a part of an index of access tokens.
--
-- KEYS: the index; the base of leaves. ARGV: where it goes on, or '' at the start; how many leaves it
-- counts. Returns {how many keys these have, where to go on, or '' at the end}.
return {count(KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2]))}
