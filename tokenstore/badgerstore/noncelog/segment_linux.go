package noncelog

import (
	"encoding/binary"
	"errors"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapped is a memory-mapped file: bytes that are copied there belong to the kernel, and outlive the
// process.
type mapped struct {
	file *os.File
	data []byte
}

// reserve gives the file its space, or only its size where space can't be reserved.
func reserve(f *os.File, size int64) (reserved bool, err error) {
	err = fallocate(f, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return false, f.Truncate(size)
	}
	return err == nil, err
}

// mapPages maps a file whose space is reserved. Without that, a write to memory on a full disk
// would end the process.
func mapPages(f *os.File, size int64) (pages, error) {
	data, err := mapFile(f, size)
	if err != nil {
		return nil, err
	}
	if data == nil {
		return &written{f}, nil
	}
	return &mapped{f, data}, nil
}

// mapFile returns nil if the file can't be mapped.
func mapFile(f *os.File, size int64) ([]byte, error) {
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	return data, os.NewSyscallError("mmap", err)
}

func unmapFile(data []byte) error { return os.NewSyscallError("munmap", unix.Munmap(data)) }

func fallocate(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("fallocate", err)
		}
	}
}

func (m *mapped) put(i int64, serial uint64, n loggedNonce) error {
	to := m.data[segmentHeader+i*recordSize:][:recordSize]
	sum := encodeNonce(to, i, serial, n)
	var word [4]byte
	binary.LittleEndian.PutUint32(word[:], sum)
	// The checksum is written atomically, after the rest. It is aligned, as pages, the header and
	// records are.
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&to[recordSize-4])), binary.NativeEndian.Uint32(word[:]))
	return nil
}

// sync also writes what was written through the mapping: fdatasync covers all pages of the file.
func (m *mapped) sync() error {
	return os.NewSyscallError("fdatasync", unix.Fdatasync(int(m.file.Fd())))
}

func (m *mapped) close() error {
	return errors.Join(unmapFile(m.data), m.file.Close())
}
