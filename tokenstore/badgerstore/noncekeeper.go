package badgerstore

import (
	"errors"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/badgerstore/noncelog"
)

// A nonceKeeper keeps the state of the nonce log in the database, where it is encrypted if anything
// is.
type nonceKeeper struct {
	db *database
	mu *sync.Mutex // Rewrap has it while it reads the state and writes it again
}

func (k *nonceKeeper) Load() (state []byte, err error) {
	err = k.db.view(func(txn *reader) error {
		return get(txn, []byte{prefixNonceState}, func(v []byte) error {
			state = append([]byte{}, v...)
			return nil
		})
	})
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, nil
	}
	return state, err
}

func (k *nonceKeeper) Save(state []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	var c change
	c.put([]byte{prefixNonceState}, state, 0)
	c.frees = true
	return k.db.commit(c)
}

func (k *nonceKeeper) Usable() error { return k.db.usable() }

var _ noncelog.Keeper = (*nonceKeeper)(nil)
