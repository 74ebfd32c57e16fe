// Package backup is the format of a backup of a store: one file that every store can be restored
// from, whatever store it was made of. It also is the format of the journal of revocations, which
// tells what was revoked since.
//
// It knows package tokenstore, its records, and age (filippo.io/age), which encrypts. It opens no
// store and no configuration.
//
//	format.go    Header, the bytes of a file, the errors
//	writer.go    Writer: header, records, trailer; or encrypted to age recipients
//	identity.go  an identity for the backup that was just written, to verify it
//	reader.go    Reader: the same, from a file; Verify
//	file.go      a file that is there whole or not at all
//	revocation.go
//	             Revocation: an entry of the journal, and which records it removes
//	journal.go   Journal: the file that revocations are written to; ReadJournal
//	names.go     names of backups in a directory
//	lock_unix.go, lock_other.go
//	             one process for one journal
//
// # Bytes
//
// A file is a magic word and the format's version, and then frames: the kind of the frame (one
// byte), the length of its content (four bytes, big-endian), and the content, which is a record of
// package record. The first frame is the header, the second the state of the store; those of
// consumers, request tokens and access tokens follow; the last one holds how many of each there
// were. Behind it stands the SHA-256 of all bytes before, and nothing else. So a file that was cut
// at any byte, or in which any bit differs, is not a backup.
//
// An encrypted backup is the same, encrypted by age.
package backup
