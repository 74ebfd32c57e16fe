package backup

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/record"
)

var (
	// ErrNotBackup: the file is something else.
	ErrNotBackup = errors.New("not a backup of an oauth1 store")
	// ErrTruncated: the file ends before its trailer.
	ErrTruncated = errors.New("the backup is not whole: its end is missing")
	// ErrDamaged: the file is not what was written.
	ErrDamaged = errors.New("the backup is damaged")
	// ErrEncrypted: the file is encrypted, and no identity was given.
	ErrEncrypted = errors.New("the backup is encrypted: an age identity is needed")
)

const (
	magic         = "oa1backp"
	formatVersion = 1
	headSize      = len(magic) + 4 // magic, version
	frameSize     = 1 + 4          // kind, length

	// maxFrame is the largest content of a frame. No store keeps a record of that size.
	maxFrame = 4 << 20

	// ageMagic is how a file that age has encrypted begins.
	ageMagic = "age-encryption.org/"
)

// The kinds of frames.
const (
	frameHeader       = 'H'
	frameState        = 'S'
	frameConsumer     = 'C'
	frameRequestToken = 'R'
	frameAccessToken  = 'A'
	frameTrailer      = 'E'
)

// A Header says what a backup is of.
type Header struct {
	// ID is different for each backup. The journal of revocations names it.
	ID string
	// Product is the version of the program that made it.
	Product string
	// Store names the store: see StoreID.
	Store string
	// Time is when it was begun. What changed in the store later may be missing.
	Time time.Time
	// Window is the timestamp_window of the configuration: requests that the store accepted had
	// timestamps up to Time and so much.
	Window time.Duration
	// Recipients are the age recipients that can read it, with a space between two. Empty means that
	// it is not encrypted, or that an older program made it. NewWriter sets them.
	Recipients string
}

var headerKind = record.Kind[Header]{
	Name:    "header of a backup",
	Version: 1,
	Fields: func(f *record.Fields, h *Header) {
		f.Text(&h.ID)
		f.Text(&h.Product)
		f.Text(&h.Store)
		f.Time(&h.Time)
		record.Int(f, &h.Window)
		f.Required()
		f.Text(&h.Recipients)
	},
}

var stateKind = record.Kind[tokenstore.StoreState]{
	Name:    "state of a store in a backup",
	Version: 1,
	Fields: func(f *record.Fields, s *tokenstore.StoreState) {
		secret := string(s.Secret[:])
		f.Text(&secret)
		record.Int(f, &s.Floor)
		f.Required()
		copy(s.Secret[:], secret)
	},
}

// Counts are how many records a backup holds.
type Counts struct {
	Consumers, RequestTokens, AccessTokens int
}

var countsKind = record.Kind[Counts]{
	Name:    "trailer of a backup",
	Version: 1,
	Fields: func(f *record.Fields, c *Counts) {
		record.Int(f, &c.Consumers)
		record.Int(f, &c.RequestTokens)
		record.Int(f, &c.AccessTokens)
		f.Required()
	},
}

// add counts a record.
func (c *Counts) add(r any) {
	switch r.(type) {
	case *tokenstore.Consumer:
		c.Consumers++
	case *tokenstore.RequestToken:
		c.RequestTokens++
	case *tokenstore.AccessToken:
		c.AccessTokens++
	}
}

// StoreID names a store by its secret, which it keeps when it is copied or restored. It tells
// nothing about the secret.
func StoreID(secret [32]byte) string {
	sum := sha256.Sum256(append([]byte("oauth1 store\x00"), secret[:]...))
	return hex.EncodeToString(sum[:8])
}

// encode returns the frame's kind and content of a record.
func encode(r any) (kind byte, content []byte, err error) {
	switch r := r.(type) {
	case *Header:
		return frameHeader, headerKind.Encode(r), nil
	case *tokenstore.StoreState:
		return frameState, stateKind.Encode(r), nil
	case *tokenstore.Consumer:
		return frameConsumer, record.Consumer.Encode(r), nil
	case *tokenstore.RequestToken:
		return frameRequestToken, record.RequestToken.Encode(r), nil
	case *tokenstore.AccessToken:
		return frameAccessToken, record.AccessToken.Encode(r), nil
	case *Counts:
		return frameTrailer, countsKind.Encode(r), nil
	}
	return 0, nil, fmt.Errorf("back up a %T", r)
}

// decode returns the record of a frame.
func decode(kind byte, content []byte) (r any, err error) {
	switch kind {
	case frameHeader:
		r, err = headerKind.Decode(content)
	case frameState:
		r, err = stateKind.Decode(content)
	case frameConsumer:
		r, err = record.Consumer.Decode(content)
	case frameRequestToken:
		r, err = record.RequestToken.Decode(content)
	case frameAccessToken:
		r, err = record.AccessToken.Decode(content)
	case frameTrailer:
		r, err = countsKind.Decode(content)
	default:
		return nil, fmt.Errorf("%w: a frame of kind %#x", ErrDamaged, kind)
	}
	if errors.Is(err, record.ErrDamaged) {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return r, err
}
