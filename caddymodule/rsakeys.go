package caddymodule

import (
	"crypto/rsa"
	"sync"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// rsaKeys caches parsed public keys by their PEM, so that requests need not parse them.
type rsaKeys struct {
	mu     sync.RWMutex
	parsed map[string]*rsa.PublicKey
}

// maxRSAKeys limits the memory: further keys are parsed for every request.
const maxRSAKeys = 4096

func (k *rsaKeys) get(pem string) (*rsa.PublicKey, error) {
	k.mu.RLock()
	key := k.parsed[pem]
	k.mu.RUnlock()
	if key != nil {
		return key, nil
	}
	key, err := oauth1.ParseRSAPublicKey(pem)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.parsed == nil || len(k.parsed) >= maxRSAKeys {
		k.parsed = make(map[string]*rsa.PublicKey)
	}
	k.parsed[pem] = key
	return key, nil
}
