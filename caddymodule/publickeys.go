package caddymodule

import (
	"crypto"
	"sync"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// publicKeys caches parsed public keys by their PEM, so that requests need not parse them.
type publicKeys struct {
	mu     sync.RWMutex
	parsed map[string]crypto.PublicKey
}

// maxPublicKeys limits the memory: further keys are parsed for every request.
const maxPublicKeys = 4096

func (k *publicKeys) get(pem string) (crypto.PublicKey, error) {
	k.mu.RLock()
	key := k.parsed[pem]
	k.mu.RUnlock()
	if key != nil {
		return key, nil
	}
	key, err := oauth1.ParsePublicKey(pem)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.parsed == nil || len(k.parsed) >= maxPublicKeys {
		k.parsed = make(map[string]crypto.PublicKey)
	}
	k.parsed[pem] = key
	return key, nil
}
