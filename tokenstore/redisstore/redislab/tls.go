package redislab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// An Authority signs the certificates of one lab.
type Authority struct {
	// CA, Certificate and Key are PEM files. The certificate is good for servers and clients, for
	// localhost and every address of the lab.
	CA, Certificate, Key string

	roots *x509.CertPool
}

// Client returns the configuration of a client that trusts the authority. With certificate it shows
// the lab's certificate.
func (a *Authority) Client(t testing.TB, certificate bool) *tls.Config {
	t.Helper()
	config := &tls.Config{RootCAs: a.roots, MinVersion: tls.VersionTLS12}
	if certificate {
		pair, err := tls.LoadX509KeyPair(a.Certificate, a.Key)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config
}

func newAuthority(t testing.TB, dir string, ips []string) *Authority {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redislab CA"},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	must(err)
	ca, err = x509.ParseCertificate(caDER)
	must(err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	must(err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "redislab"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:    []string{"localhost"},
	}
	for _, ip := range ips {
		leaf.IPAddresses = append(leaf.IPAddresses, net.ParseIP(ip))
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	must(err)

	a := &Authority{
		CA: filepath.Join(dir, "ca.pem"), Certificate: filepath.Join(dir, "certificate.pem"),
		Key: filepath.Join(dir, "key.pem"), roots: x509.NewCertPool(),
	}
	a.roots.AddCert(ca)
	write := func(file, kind string, der []byte) {
		must(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	write(a.CA, "CERTIFICATE", caDER)
	write(a.Certificate, "CERTIFICATE", leafDER)
	write(a.Key, "EC PRIVATE KEY", keyDER)
	return a
}
