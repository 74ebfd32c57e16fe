package badgerstore

import (
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

// countedAtOnce is how many keys are counted before requests get their turn.
const countedAtOnce = 1 << 13

// openedMessage is the line in the log.
const openedMessage = "token store is open"

// logContents says in the log what was opened, and how much is in it. It counts in the background, since millions of
// tokens take seconds, and holds no snapshot while it rests. What changes meanwhile may be counted or not; what was revoked
// counts until it has left the disk.
func (s *Store) logContents(path string) {
	nonces := s.nonces.Live() // now: they are forgotten while the rest is counted
	fields := []zap.Field{
		zap.String("store", "badger"),
		zap.String("path", path),
		zap.Bool("encrypted", len(s.encryptionKey) > 0),
		zap.Bool("sync", s.nonces.Syncs()),
	}
	for _, kind := range []struct {
		name   string
		prefix byte
	}{
		{"consumers", prefixConsumer},
		{"access_tokens", prefixAccessToken},
		{"request_tokens", prefixRequestToken},
	} {
		n, err := s.countKeys(kind.prefix)
		if isClosed(s.stop) {
			return
		}
		if err != nil {
			fields = append(fields, zap.NamedError("uncounted", err))
			break
		}
		fields = append(fields, zap.Int64(kind.name, n))
	}
	s.log.Info(openedMessage, append(fields, zap.Int64("nonces", nonces))...)
}

// countKeys counts the keys that begin with prefix, until the store is closed.
func (s *Store) countKeys(prefix byte) (n int64, err error) {
	var after []byte
	for !isClosed(s.stop) {
		begin, counted := time.Now(), 0
		err := s.tokens.view(func(txn *badger.Txn) error {
			return scan(txn, []byte{prefix}, after, false, func(item *badger.Item) (bool, error) {
				if counted++; counted == countedAtOnce {
					after = item.KeyCopy(nil)[1:]
				}
				return counted < countedAtOnce, nil
			})
		})
		n += int64(counted)
		if err != nil || counted < countedAtOnce {
			return n, err
		}
		s.rest(time.Since(begin), s.stop)
	}
	return n, nil
}
