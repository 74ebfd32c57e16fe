-- Counts an index of access tokens. KEYS: the index; the base of leaves. Returns how many keys it has.
return count(KEYS[1], KEYS[2])
