package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The peers below are other programs. They run if they are installed.

//go:embed verifier.py
var pythonVerifier string

// python is Debian's own, which has the modules of Debian's packages.
const python = "/usr/bin/python3"

// startForwardAuthPython asks oauthlib's ResourceEndpoint, in as many gunicorn workers as there are
// cores. Each worker has its own dict of nonces, so a replay that reaches another worker passes:
// this peer does less than it should.
func startForwardAuthPython(l *lab) (*target, error) {
	if out, err := exec.Command(python, "-c", "import oauthlib, gunicorn").CombinedOutput(); err != nil {
		return nil, errMissing(fmt.Sprintf("%s lacks oauthlib or gunicorn (Debian: python3-oauthlib, gunicorn): %s", python, lastLine(out)))
	}
	dir := l.folder("gunicorn")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	known := make(map[string][3]string, l.tokens)
	for i := range l.tokens {
		t := hmacToken(i)
		known[t.Key] = [3]string{t.Consumer, t.Secret, t.User}
	}
	secrets := make(map[string]string, consumers)
	for i := range consumers {
		c := hmacConsumer(i)
		secrets[c.Key] = c.Secret
	}
	text, err := json.Marshal(map[string]any{"tokens": known, "consumers": secrets, "window": window})
	if err != nil {
		return nil, err
	}
	for name, content := range map[string]string{"known.json": string(text), "verifier.py": pythonVerifier} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	addr := "127.0.0.1:" + port
	// Threads, because gunicorn's sync workers do not keep connections open.
	p, err := l.start("gunicorn", nil, python, "-m", "gunicorn", "--bind", addr, "--workers", "2", "--threads", "32",
		"--worker-class", "gthread", "--keep-alive", "600", "--backlog", "2048", "--log-level", "warning", "verifier:application")
	if err != nil {
		return nil, err
	}
	if err := l.await(p, addr); err != nil {
		return nil, err
	}
	t, err := l.startCaddy("forward_auth-python", site{before: forwardAuth(addr)}, signed("HMAC-SHA256"))
	if err != nil {
		return nil, err
	}
	t.beside = []*process{p}
	return t, nil
}

const nginxConf = `daemon off;
worker_processes auto;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 8192; }
http {
	access_log off;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	keepalive_requests 100000000;
	upstream api { server %[1]s; keepalive 1024; keepalive_requests 100000000; }
	upstream verifier { server %[2]s; keepalive 1024; keepalive_requests 100000000; }
	server {
		listen 127.0.0.1:%[3]s;
		location / {
			auth_request /verify;
			auth_request_set $user $upstream_http_x_oauth_user;
			proxy_pass http://api;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $http_host;
			proxy_set_header Authorization "";
			proxy_set_header X-OAuth-User $user;
		}
		location = /verify {
			internal;
			proxy_pass http://verifier;
			proxy_http_version 1.1;
			proxy_pass_request_body off;
			proxy_set_header Content-Length "";
			proxy_set_header Connection "";
			proxy_set_header X-Forwarded-Method $request_method;
			proxy_set_header X-Forwarded-Host $http_host;
			proxy_set_header X-Forwarded-Uri $request_uri;
		}
	}
}
`

func startNginx(l *lab) (*target, error) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		nginx = "/usr/sbin/nginx" // only root has it in PATH
	}
	if err := exec.Command(nginx, "-v").Run(); err != nil {
		return nil, errMissing("nginx is not installed")
	}
	verifier, verifierAddr, err := l.startRole("verify", fmt.Sprint(l.tokens))
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir := l.folder("nginx")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(nginxConf, l.addr, verifierAddr, port)
	if os.Geteuid() == 0 {
		text = "user root;\n" + text // other users can't read the lab's folder
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	p, err := l.start("nginx", nil, nginx, "-p", dir, "-c", conf)
	if err != nil {
		return nil, err
	}
	t := &target{addr: "127.0.0.1:" + port, credential: signed("HMAC-SHA256"), proxy: []*process{p}, beside: []*process{verifier}}
	return t, l.await(p, t.addr)
}

// startNode starts oauth_reverse_proxy of npm. It has consumers but no tokens, supports only
// HMAC-SHA1, and does not remember nonces.
func startNode(l *lab) (*target, error) {
	out, err := exec.Command("node", "-p", "require.resolve('oauth_reverse_proxy')").CombinedOutput()
	if err != nil {
		return nil, errMissing("the npm package oauth_reverse_proxy is not installed (here, or in NODE_PATH)")
	}
	dir := l.folder("oauth_reverse_proxy")
	keys := filepath.Join(dir, "keys")
	for _, folder := range []string{keys, filepath.Join(dir, "config")} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
	}
	for i := range consumers {
		c := hmacConsumer(i)
		if err := os.WriteFile(filepath.Join(keys, c.Key), []byte(c.Secret), 0o600); err != nil {
			return nil, err
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	_, upstreamPort, _ := strings.Cut(l.addr, ":")
	config := fmt.Sprintf(`{"service_name": "bench", "from_port": %s, "to_port": %s, "target_host": "127.0.0.1", "oauth_secret_dir": %q}`,
		port, upstreamPort, keys)
	if err := os.WriteFile(filepath.Join(dir, "config", "bench.json"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	p, err := l.start("oauth_reverse_proxy", []string{
		"OAUTH_REVERSE_PROXY_CONFIG_DIR=" + filepath.Join(dir, "config"),
		"OAUTH_REVERSE_PROXY_LOG_DIR=" + dir,
		"OAUTH_REVERSE_PROXY_LOG_LEVEL=error", // no other peer logs every request
	}, "node", strings.TrimSpace(string(out)))
	if err != nil {
		return nil, err
	}
	t := &target{addr: "127.0.0.1:" + port, credential: twoLegged, proxy: []*process{p}}
	return t, l.await(p, t.addr)
}

func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}
