package main

import (
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// startJWT uses a separate Caddy, with the JWT provider of the folder jwt.
func startJWT(name string) func(*lab) (*target, error) {
	return func(l *lab) (*target, error) {
		binary, err := l.buildJWT()
		if err != nil {
			return nil, err
		}
		if err := l.sameCaddy(binary); err != nil {
			return nil, err
		}
		key := credentialText('j', 0, 32)
		credential, algorithm := hs256([]byte(key)), "HS256"
		if name == "jwt-rs256" {
			key, credential, algorithm = l.rsa.public, rs256(l.rsa.key), "RS256"
		}
		return l.startCaddy(name, site{
			binary: binary,
			before: "jwt_auth " + algorithm + ` "` + key + `"`,
			pass:   passUser,
		}, credential)
	}
}

// buildJWT builds that Caddy if it is not built yet, and returns its path.
func (l *lab) buildJWT() (string, error) {
	binary := filepath.Join(l.dir, "caddy-jwt")
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	root, err := exec.CommandContext(l.ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", errMissing(fmt.Sprintf("the source of %s is not found: %v", module, err))
	}
	dir := filepath.Join(strings.TrimSpace(string(root)), "integration", "bench", "jwt")
	progress("building integration/bench/jwt")
	if out, err := exec.CommandContext(l.ctx, "go", "build", "-C", dir, "-o", binary, ".").CombinedOutput(); err != nil {
		// For example, a module is not in the cache, and there is no network.
		return "", errMissing("integration/bench/jwt is not built: " + lastLine(out))
	}
	return binary, nil
}

// sameCaddy returns an error if a binary has another version of Caddy than the product.
func (l *lab) sameCaddy(binary string) error {
	ours, err1 := buildinfo.ReadFile(l.binary)
	theirs, err2 := buildinfo.ReadFile(binary)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if got, want := caddyVersion(theirs), caddyVersion(ours); got != want {
		return errMissing(fmt.Sprintf("integration/bench/jwt has Caddy %s, the product %s", got, want))
	}
	return nil
}
