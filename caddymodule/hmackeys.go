package caddymodule

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// hmacKeys keeps the HMAC keys of those who sign often ready. There is a slot for each of them, which others may have to
// share.
type hmacKeys struct {
	seed  maphash.Seed
	slots [hmacSlots]hmacSlot
}

// hmacSlots are so many that some thousand busy tokens get in each other's way little. A key takes 400 bytes or so.
const hmacSlots = 8192

type hmacSlot struct {
	ready atomic.Pointer[hmacReady]
	// missed is by whom the slot was looked at in vain the last time. Whoever comes twice gets it; those who come once, as
	// most of millions do, do not disturb.
	missed atomic.Uint64
}

// hmacReady is a key and what it was made of, which is compared each time: so a secret that was changed is another key.
type hmacReady struct {
	method, consumerSecret, tokenSecret string
	key                                 *oauth1.HMACKey
}

func newHMACKeys() *hmacKeys { return &hmacKeys{seed: maphash.MakeSeed()} }

// get returns the key of the signer, which may be any name for it, or nil when it is not ready.
func (k *hmacKeys) get(signer, method, consumerSecret, tokenSecret string) *oauth1.HMACKey {
	hash := maphash.String(k.seed, signer)
	slot := &k.slots[hash%hmacSlots]
	if r := slot.ready.Load(); r != nil && r.tokenSecret == tokenSecret && r.consumerSecret == consumerSecret && r.method == method {
		return r.key
	}
	if slot.missed.Swap(hash) != hash {
		return nil
	}
	key, err := oauth1.NewHMACKey(method, consumerSecret, tokenSecret)
	if err != nil {
		return nil // the secrets do without it
	}
	slot.ready.Store(&hmacReady{method, consumerSecret, tokenSecret, key})
	return key
}
