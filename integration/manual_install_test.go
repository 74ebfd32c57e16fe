package integration

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// docs/install.md is about machines that a Go test has not got. Its commands are tried by
// deploy/test; here they are compared with what that runs.
var insteadOfInstalling = map[string]func(*reader, string){
	"dpkg -i caddy-oauth1_0.1.0-1_amd64.deb": triedBy("deploy/testdata/inside", `dpkg -i "`, `install_version "$OLD"`),
	"dpkg -i caddy-oauth1_0.1.1-1_amd64.deb": triedBy("deploy/testdata/inside", `install_version "$NEW"`),
	"rpm -i caddy-oauth1-0.1.0-1.x86_64.rpm": triedBy("deploy/testdata/inside", `rpm -i --nodeps "$(package "$OLD")"`),
	"systemctl enable --now caddy-oauth1":    triedBy("deploy/testdata/inside"),
	"systemctl reload caddy-oauth1":          triedBy("deploy/testdata/inside"),
	"systemctl restart caddy-oauth1":         triedBy("deploy/testdata/inside"),
	"(umask 077 && set -C && openssl rand -base64 32 > /etc/caddy-oauth1/credentials/k1)": triedBy(
		"deploy/testdata/inside", "openssl rand -base64 32 >/etc/caddy-oauth1/credentials/k1)"),
	"systemctl stop caddy-oauth1": triedBy("deploy/testdata/inside", "systemctl stop caddy-oauth1",
		`caddy-oauth1-offline oauth1 store adopt --config "$config"`),
	"install -o caddy-oauth1 -m 0400 by-hand.backup /var/backups/caddy-oauth1/": triedBy(
		"deploy/testdata/inside", "install -o caddy-oauth1 -m 0400"),
	"caddy-oauth1 oauth1 consumer add printer --config /etc/caddy-oauth1/Caddyfile": triedBy(
		"deploy/testdata/inside", "managed consumer add printer", `--config "$config"`),
	"podman load -i caddy-oauth1-0.1.0-amd64.image.tar": triedBy("deploy/test", ".image.tar", "OAUTH1_UPSTREAM"),
	"podman exec oauth1 caddy-oauth1 oauth1 consumer add printer --address unix//data/admin.sock": triedBy(
		"deploy/test", "oauth1 consumer add printer --address unix//data/admin.sock"),
	"kubectl create secret generic caddy-oauth1 --from-file=redis-password": triedBy(
		"deploy/kubernetes/redis/configmap.yaml", "/run/secrets/oauth1/redis-password"),
	`kubectl exec deployment/caddy-oauth1 -- caddy-oauth1 oauth1 consumer add printer \`: triedBy(
		"deploy/kubernetes/redis/configmap.yaml", "admin unix//run/caddy-oauth1/admin.sock"),
	"deploy/build": triedBy("deploy/test"),
	"deploy/test":  triedBy(".ci/run"),
}

// triedBy checks that a file has some words; without words, the block itself.
func triedBy(file string, words ...string) func(*reader, string) {
	return func(r *reader, block string) {
		r.Helper()
		text, err := os.ReadFile("../" + file)
		if err != nil {
			r.Fatal(err)
		}
		wanted := words
		if len(wanted) == 0 {
			wanted = []string{strings.TrimSpace(block)}
		}
		for _, word := range wanted {
			if !strings.Contains(string(text), word) {
				r.Errorf("%s is not tried: %s has no %q", block, file, word)
			}
		}
	}
}

// TestReleaseIsNamedAlike: the changelog, the program, the manual and the manifests name one version.
func TestReleaseIsNamedAlike(t *testing.T) {
	newest := regexp.MustCompile(`(?m)^## (\d+\.\d+\.\d+)`)
	changelog, err := os.ReadFile("../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	found := newest.FindSubmatch(changelog)
	if found == nil {
		t.Fatal("CHANGELOG.md has no version")
	}
	version := string(found[1])
	for path, want := range map[string]string{
		"caddymodule/command/version.go":            `const nextVersion = "` + version + "\"\n",
		"docs/install.md":                           "caddy-oauth1_" + version + "-1_amd64.deb",
		"deploy/kubernetes/badger/statefulset.yaml": "image: localhost/caddy-oauth1:" + version + "\n",
		"deploy/kubernetes/redis/deployment.yaml":   "image: localhost/caddy-oauth1:" + version + "\n",
	} {
		text, err := os.ReadFile("../" + path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s has no %q", path, want)
		}
	}
}
