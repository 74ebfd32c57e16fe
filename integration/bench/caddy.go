package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"text/template"
	"time"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
)

// A site is what a peer changes in the Caddyfile.
type site struct {
	binary string        // default: the product
	app    string        // lines of the global oauth1 block; empty: no such block
	store  string        // lines of the store's block
	redis  *redisServers // where the store is; default: Badger
	before string        // lines before reverse_proxy
	pass   string        // lines of reverse_proxy
	dir    string        // of the data; default: the process's folder
}

// Connections to the upstream and the verifier are kept open for all clients, so no peer pays for
// new ones.
const caddyfile = `{
	admin 127.0.0.1:{{.Admin}}
	default_bind 127.0.0.1
	persist_config off
	auto_https off
	{{- if .App}}
	oauth1 {
		store {{if .Redis}}{{.Redis}}{{else}}badger {
			path {{.Dir}}/store
			{{.Store}}
		}{{end}}
		{{.App}}
	}
	{{- end}}
}

(transport) {
	transport http {
		keepalive_idle_conns_per_host 2048
	}
}

http://127.0.0.1:{{.Port}} {
	{{.Before}}
	reverse_proxy {{.Upstream}} {
		{{.Pass}}
		import transport
	}
}
`

var caddyfileTemplate = template.Must(template.New("Caddyfile").Parse(caddyfile))

// startCaddy starts a Caddy in front of the upstream and waits until it answers.
func (l *lab) startCaddy(name string, s site, c credential) (*target, error) {
	t, p, err := l.launchCaddy(name, s, c)
	if err != nil {
		return nil, err
	}
	if err := l.await(p, t.addr); err != nil {
		return nil, err
	}
	ready := "/config/"
	if s.app != "" {
		ready = adminapi.ConsumersPath // the sites listen before it does
	}
	return t, l.until(p, func() error { return t.callAdmin(http.MethodGet, ready, nil) })
}

// launchCaddy starts a Caddy like startCaddy, but does not wait.
func (l *lab) launchCaddy(name string, s site, c credential) (*target, *process, error) {
	dir := l.folder(name)
	if s.dir == "" {
		s.dir = dir
	}
	if s.binary == "" {
		s.binary = l.binary
	}
	port, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	admin, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	values := map[string]string{
		"Admin": admin, "Port": port, "Upstream": l.addr, "Dir": s.dir,
		"App": s.app, "Store": s.store, "Before": s.before, "Pass": s.pass, "Redis": "",
	}
	if s.redis != nil {
		values["Redis"] = s.redis.store()
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, err
	}
	var b bytes.Buffer
	if err := caddyfileTemplate.Execute(&b, values); err != nil {
		return nil, nil, err
	}
	path := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		return nil, nil, err
	}
	environment := []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir + "/data", "XDG_CONFIG_HOME=" + dir + "/config"}
	p, err := l.start(name, environment, s.binary, "run", "--config", path, "--adapter", "caddyfile")
	if err != nil {
		return nil, nil, err
	}
	return &target{addr: "127.0.0.1:" + port, admin: &adminapi.Client{Address: "127.0.0.1:" + admin}, credential: c, proxy: []*process{p}}, p, nil
}

// hashPassword returns a bcrypt hash for basic_auth. The bcrypt cost does not matter, because
// basic_auth computes the hash once and caches the result.
func (l *lab) hashPassword() (string, error) {
	out, err := exec.CommandContext(l.ctx, l.binary,
		"hash-password", "--algorithm", "bcrypt", "--bcrypt-cost", "10", "--plaintext", password).Output()
	return strings.TrimSpace(string(out)), err
}

// callAdmin calls the admin API, and ignores the answer.
func (t *target) callAdmin(method, path string, body any) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := t.admin.Do(ctx, method, path, body, nil); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// introduce creates the consumers and tokens through the admin API.
func (t *target) introduce(tokens int, rsa *rsaPair) error {
	if rsa != nil {
		consumer := adminapi.NewConsumer{Key: rsaConsumerKey}
		consumer.RSAPublicKey = rsa.public
		if err := t.callAdmin(http.MethodPost, adminapi.ConsumersPath, consumer); err != nil {
			return err
		}
	} else {
		for i := range consumers {
			c := hmacConsumer(i)
			consumer := adminapi.NewConsumer{Key: c.Key, Secret: &c.Secret}
			if err := t.callAdmin(http.MethodPost, adminapi.ConsumersPath, consumer); err != nil {
				return err
			}
		}
	}
	// The store writes those of the same moment together.
	const parallel = 32
	failures := make([]error, parallel)
	var all sync.WaitGroup
	for worker := range parallel {
		all.Go(func() {
			for i := worker; i < tokens && failures[worker] == nil; i += parallel {
				token := hmacToken(i)
				if rsa != nil {
					token = rsaToken(i)
				}
				failures[worker] = t.callAdmin(http.MethodPost, adminapi.TokensPath, adminapi.NewToken{
					Key: token.Key, Secret: &token.Secret, Consumer: token.Consumer,
					Grant: adminapi.Grant{User: token.User, Permission: token.Permission},
				})
			}
		})
	}
	all.Wait()
	return errors.Join(failures...)
}

// profile writes a CPU profile of the target to a file, taken while it is under load.
func (l *lab) profile(t *target, file string, seconds int) error {
	done := make(chan error, 1)
	go func() {
		resp, err := (&http.Client{}).Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", t.admin.Address, seconds))
		if err != nil {
			done <- err
			return
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		done <- errors.Join(err, os.WriteFile(file, text, 0o644))
	}()
	deadline := time.Now().Add(time.Duration(seconds) * time.Second)
	for time.Now().Before(deadline) {
		if _, err := l.run(l.ctx, t, 4000, l.connections, uniform(l.tokens)); err != nil {
			return err
		}
	}
	return <-done
}
