package oauth1

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
)

var (
	// ErrSignature says that a signature does not match the request.
	ErrSignature = errors.New("signature does not match")
	// ErrKeyKind says that a signature method does not fit the key, such as HMAC with an RSA key.
	ErrKeyKind = errors.New("signature method and kind of key do not go together")
)

// SignatureMethods are the values of oauth_signature_method that Parse accepts: the three of RFC
// 5849, and HMAC and RSA with SHA-256 and SHA-512.
var SignatureMethods = []string{
	"HMAC-SHA1", "HMAC-SHA256", "HMAC-SHA512",
	"RSA-SHA1", "RSA-SHA256", "RSA-SHA512",
	Plaintext,
}

// Plaintext is the one signature method that covers neither the request nor its nonce (RFC 5849,
// section 3.4.4).
const Plaintext = "PLAINTEXT"

// A KeyKind is the kind of key that a signature method works with.
type KeyKind uint8

const (
	// KeyUnknown is the kind of a method that Parse does not accept.
	KeyUnknown KeyKind = iota
	// KeySecrets are the secrets of the consumer and the token.
	KeySecrets
	// KeyRSA is the consumer's RSA key pair.
	KeyRSA
)

// KeyKindOf returns the kind of key that a signature method works with.
func KeyKindOf(signatureMethod string) KeyKind {
	m, ok := methodNamed(signatureMethod)
	if !ok {
		return KeyUnknown
	}
	return m.kind.key()
}

type methodKind uint8

const (
	kindHMAC methodKind = iota
	kindRSA
	kindPlaintext
)

func (k methodKind) key() KeyKind {
	if k == kindRSA {
		return KeyRSA
	}
	return KeySecrets
}

type method struct {
	kind methodKind
	hash crypto.Hash // for HMAC and RSA
}

func methodNamed(name string) (method, bool) {
	switch name {
	case "HMAC-SHA1":
		return method{kindHMAC, crypto.SHA1}, true
	case "HMAC-SHA256":
		return method{kindHMAC, crypto.SHA256}, true
	case "HMAC-SHA512":
		return method{kindHMAC, crypto.SHA512}, true
	case "RSA-SHA1":
		return method{kindRSA, crypto.SHA1}, true
	case "RSA-SHA256":
		return method{kindRSA, crypto.SHA256}, true
	case "RSA-SHA512":
		return method{kindRSA, crypto.SHA512}, true
	case Plaintext:
		return method{kind: kindPlaintext}, true
	}
	return method{}, false
}

// Key is the key that verifies a signature.
type Key struct {
	ConsumerSecret string
	TokenSecret    string   // "" for a request without a token
	HMAC           *HMACKey // from NewHMACKey, or nil; used only with its own method
	// Public is the consumer's public key, from ParsePublicKey. If it is set, only the methods of
	// its kind verify; else only HMAC and PLAINTEXT.
	Public crypto.PublicKey
}

// PublicKeyKind returns the kind of a public key; of nil, which stands for the secrets, KeySecrets.
func PublicKeyKind(key crypto.PublicKey) KeyKind {
	switch key.(type) {
	case nil:
		return KeySecrets
	case *rsa.PublicKey:
		return KeyRSA
	}
	return KeyUnknown
}

// Verify checks the signature in p over the request (RFC 5849, section 3.4). The time that it takes
// does not depend on the position of the first difference. It returns ErrSignature if the signature
// does not match, ErrKeyKind at once if the method does not fit the kind of key, and a *ParamError
// if the method is absent or unknown or the request cannot be normalized.
//
// The HMAC methods accept only canonical base64. PLAINTEXT is the two secrets, percent-encoded and
// joined by "&" (section 3.4.4). The unencoded secrets are also accepted, because some clients send
// them. PLAINTEXT does not cover the request.
//
// The standard permits empty secrets. If both are empty, anybody can make the signature.
func Verify(r *Request, p *Params, k *Key) error {
	if p.SignatureMethod == "" {
		return &ParamError{Problem: problemAbsent, Parameter: "oauth_signature_method", Reason: "missing"}
	}
	m, ok := methodNamed(p.SignatureMethod)
	if !ok {
		return errMethod()
	}
	if m.kind.key() != PublicKeyKind(k.Public) {
		return ErrKeyKind
	}
	b := newBuffers()
	defer b.free()
	if m.kind == kindPlaintext {
		return b.verifyPlaintext(p.Signature, k)
	}
	err := b.verify(r, p, k, m)
	if err == nil || !p.again {
		return err
	}
	twice := *p // a client that follows the RFC signs both
	twice.again = false
	return b.verify(r, &twice, k, m)
}

func (b *buffers) verify(r *Request, p *Params, k *Key, m method) error {
	if err := b.setBaseString(r, p); err != nil {
		return err
	}
	if public, ok := k.Public.(*rsa.PublicKey); ok {
		return verifyRSA(p.Signature, m.hash, b.baseString(), public)
	}
	return b.verifyHMAC(p.Signature, m.hash, k)
}

func (b *buffers) verifyPlaintext(signature string, k *Key) error {
	b.setSecrets(k.ConsumerSecret, k.TokenSecret)
	encoded := subtle.ConstantTimeCompare([]byte(signature), b.secrets)
	b.secrets = append(b.secrets[:0], k.ConsumerSecret...)
	b.secrets = append(b.secrets, '&')
	b.secrets = append(b.secrets, k.TokenSecret...)
	unencoded := subtle.ConstantTimeCompare([]byte(signature), b.secrets)
	if encoded|unencoded != 1 {
		return ErrSignature
	}
	return nil
}

func verifyRSA(signature string, hash crypto.Hash, baseString []byte, key *rsa.PublicKey) error {
	der, err := base64.StdEncoding.Strict().DecodeString(signature)
	// Go's decoder skips line ends; the length reveals them.
	if err != nil || base64.StdEncoding.EncodedLen(len(der)) != len(signature) {
		return ErrSignature
	}
	var sum [maxSum]byte
	if rsa.VerifyPKCS1v15(key, hash, appendSum(sum[:0], hash, baseString), der) != nil {
		return ErrSignature
	}
	return nil
}

const (
	maxSum   = sha512.Size
	maxBlock = sha512.BlockSize
)

// buffers hold the memory for making a signature. They are pooled.
type buffers struct {
	secrets []byte // encoded and joined by "&": HMAC's key and PLAINTEXT's signature
	// padded is the base string after maxBlock bytes of room for HMAC's inner pad, so that both can
	// be hashed in one call.
	padded   []byte
	sum, mac []byte // HMAC's inner hash, and the HMAC
	hashes   [crypto.SHA512 + 1]resumable
}

var bufferPool = sync.Pool{New: func() any { return new(buffers) }}

func newBuffers() *buffers { return bufferPool.Get().(*buffers) }

func (b *buffers) free() {
	clear(b.secrets[:cap(b.secrets)])
	clear(b.mac[:cap(b.mac)])
	if cap(b.secrets) <= maxPooled && cap(b.padded) <= maxPooled {
		bufferPool.Put(b)
	}
}

func (b *buffers) setSecrets(consumerSecret, tokenSecret string) {
	b.secrets = AppendEncode(b.secrets[:0], consumerSecret)
	b.secrets = append(b.secrets, '&')
	b.secrets = AppendEncode(b.secrets, tokenSecret)
}

func (b *buffers) setBaseString(r *Request, p *Params) (err error) {
	var room [maxBlock]byte
	b.padded, err = r.AppendBaseString(append(b.padded[:0], room[:]...), p)
	return err
}

func (b *buffers) baseString() []byte { return b.padded[maxBlock:] }

// minRSABits is the minimum of Go's crypto/rsa. New keys should have 2048 bits or more.
const minRSABits = 1024

// ParsePublicKey reads a public key from PEM: an RSA key of at least 1024 bits. It accepts a public
// key (SubjectPublicKeyInfo, "PUBLIC KEY", or PKCS #1, "RSA PUBLIC KEY") and a certificate, of which
// it uses only the key. Any other content, a second PEM block, or text after the block is an error.
func ParsePublicKey(text string) (crypto.PublicKey, error) {
	block, err := onlyPEMBlock(text)
	if err != nil {
		return nil, fmt.Errorf("parse RSA public key: %w", err)
	}
	key, err := publicKeyOf(block)
	if err != nil {
		return nil, fmt.Errorf("parse RSA public key: %w", err)
	}
	rsaKey, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("parse RSA public key: the key is of another kind, %T", key)
	}
	if bits := rsaKey.N.BitLen(); bits < minRSABits {
		return nil, fmt.Errorf("parse RSA public key: %d bits are too few, %d are the least", bits, minRSABits)
	}
	if rsaKey.E < 3 || rsaKey.E%2 == 0 {
		return nil, fmt.Errorf("parse RSA public key: invalid exponent %d", rsaKey.E)
	}
	return rsaKey, nil
}

// DescribePublicKey says for people what kind of key it is.
func DescribePublicKey(key crypto.PublicKey) string {
	if key, ok := key.(*rsa.PublicKey); ok {
		return fmt.Sprintf("%d bits", key.N.BitLen())
	}
	return fmt.Sprintf("%T", key)
}

func publicKeyOf(block *pem.Block) (any, error) {
	switch {
	case block.Type == "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case block.Type == "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case block.Type == "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return nil, errors.New("this is a private key, which belongs to the consumer alone; its public key is needed")
	}
	return nil, fmt.Errorf("no public key or certificate but %q", block.Type)
}

// ParsePrivateKey reads an unencrypted private key from PEM: an RSA key of at least 1024 bits, as
// PKCS #8, "PRIVATE KEY", or PKCS #1, "RSA PRIVATE KEY". Any other content, a second PEM block, or
// text after the block is an error.
func ParsePrivateKey(text string) (crypto.Signer, error) {
	block, err := onlyPEMBlock(text)
	if err != nil {
		return nil, fmt.Errorf("parse RSA private key: %w", err)
	}
	key, err := privateKeyOf(block)
	if err != nil {
		return nil, fmt.Errorf("parse RSA private key: %w", err)
	}
	rsaKey, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("parse RSA private key: the key is of another kind, %T", key)
	}
	if bits := rsaKey.N.BitLen(); bits < minRSABits {
		return nil, fmt.Errorf("parse RSA private key: %d bits are too few, %d are the least", bits, minRSABits)
	}
	return rsaKey, nil
}

func privateKeyOf(block *pem.Block) (any, error) {
	switch block.Type {
	case "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		if block.Headers["DEK-Info"] != "" {
			return nil, errors.New("the key is encrypted")
		}
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("the key is encrypted")
	}
	return nil, fmt.Errorf("no private key but %q", block.Type)
}

func onlyPEMBlock(text string) (*pem.Block, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("not PEM")
	}
	if strings.TrimSpace(string(rest)) != "" {
		return nil, fmt.Errorf("more text follows the first PEM block, %q", block.Type)
	}
	return block, nil
}
