package noncelog

import (
	"encoding/binary"
	"os"
)

// written is a file that takes a system call for each record: for systems where files can't be
// mapped, or their space can't be reserved.
type written struct{ file *os.File }

func (w *written) put(i int64, serial uint64, n loggedNonce) error {
	b := make([]byte, recordSize)
	binary.LittleEndian.PutUint32(b[recordSize-4:], encodeNonce(b, i, serial, n))
	_, err := w.file.WriteAt(b, segmentHeader+i*recordSize)
	return err
}

func (w *written) sync() error  { return w.file.Sync() }
func (w *written) close() error { return w.file.Close() }
