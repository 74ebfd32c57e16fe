package caddymodule

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// hmacKeys caches the prepared HMAC keys of frequent signers. Each signer has one slot, which it
// may share with other signers.
type hmacKeys struct {
	seed  maphash.Seed
	slots [hmacSlots]hmacSlot
}

// hmacSlots is large enough that a few thousand busy tokens rarely share a slot. A key takes about
// 400 bytes.
const hmacSlots = 8192

type hmacSlot struct {
	ready atomic.Pointer[hmacReady]
	// missed is the hash of the last signer that did not find its key here. A signer that misses
	// twice in a row gets the slot. Signers that come only once, which may be millions, do not take
	// it.
	missed atomic.Uint64
}

// hmacReady is a key with its secrets. Every look-up compares the secrets, so a changed secret gets
// a new key.
type hmacReady struct {
	method, consumerSecret, tokenSecret string
	key                                 *oauth1.HMACKey
}

func newHMACKeys() *hmacKeys { return &hmacKeys{seed: maphash.MakeSeed()} }

// get returns the signer's key, or nil if it is not prepared. The signer may be any unique name.
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
		return nil // the caller then uses the secrets themselves
	}
	slot.ready.Store(&hmacReady{method, consumerSecret, tokenSecret, key})
	return key
}
