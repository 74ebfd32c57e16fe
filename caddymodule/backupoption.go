package caddymodule

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"filippo.io/age"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/backup"
)

// Backup makes backups of the store by schedule, and keeps a journal of what was revoked since.
// `oauth1 restore` brings back a store from both. Keep the directory on another disk than the
// store, and copy it to another machine.
type Backup struct {
	// The directory of the backups, and of the journal of revocations. If it does not exist it is
	// made, readable for its owner alone. Placeholders such as `{env.X}` are expanded when the
	// configuration is loaded. Required. Each Caddy needs a directory of its own, and each store.
	//
	// Without `recipients`, the backups hold every secret of every consumer and token in clear. The
	// journal holds the names of users, the keys of consumers and tokens, and no secret. A
	// revocation is answered when it is in the journal, on disk. If it can't be written there, the
	// revocation is done, and answered with an error.
	Path string `json:"path"`

	// How often a backup is made. Default: 24h. The time counts from the last backup in the
	// directory, also after a restart or a reload. At least one minute.
	Every caddy.Duration `json:"every,omitempty"`

	// How many backups are kept. Default: 14. An older one is removed when a newer one was made and
	// verified.
	Keep int `json:"keep,omitempty"`

	// The age recipients (`age1...`) that can read the backups, also those of `oauth1 backup`. Make
	// one with `age-keygen`, and keep its identity on another machine. Placeholders are expanded.
	// Default: none, not encrypted.
	Recipients []string `json:"recipients,omitempty"`

	// Keep the journal, and make no backup by schedule. For replicas whose shared store another
	// replica backs up. What no backup needs that it keeps is removed from the journal here, too; they
	// learn of it by the store. Default: false.
	JournalOnly bool `json:"journal_only,omitempty"`

	recipients []age.Recipient
}

const (
	defaultBackupEvery = 24 * time.Hour
	defaultBackupKeep  = 14
	leastBackupEvery   = time.Minute
)

// provision sets the defaults and expands placeholders. It opens nothing.
func (b *Backup) provision() error {
	repl := caddy.NewReplacer()
	if b.Path == "" {
		return errors.New("backup: path is missing")
	}
	path, err := repl.ReplaceOrErr(b.Path, true, true)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return fmt.Errorf("backup: path: %w", err)
	}
	b.Path = path
	if b.Every == 0 {
		b.Every = caddy.Duration(defaultBackupEvery)
	}
	if b.Keep == 0 {
		b.Keep = defaultBackupKeep
	}
	texts := make([]string, len(b.Recipients))
	for i, text := range b.Recipients {
		if texts[i], err = repl.ReplaceOrErr(text, true, true); err != nil {
			return fmt.Errorf("backup: recipients: %w", err)
		}
	}
	if b.recipients, err = backup.ParseRecipients(texts); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return nil
}

// validate checks the values.
func (b *Backup) validate() error {
	if time.Duration(b.Every) < leastBackupEvery {
		return fmt.Errorf("backup: every %v: must be at least %v", time.Duration(b.Every), leastBackupEvery)
	}
	if b.Keep < 1 {
		return fmt.Errorf("backup: keep %d: must be at least 1", b.Keep)
	}
	return nil
}

// replicaName names this machine, for the name of its journal.
func replicaName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "caddy"
	}
	return name
}

// unmarshalBackup reads the option backup; see parseGlobalOption for the syntax.
func (a *App) unmarshalBackup(d *caddyfile.Dispenser) error {
	b := new(Backup)
	switch args := d.RemainingArgs(); len(args) {
	case 0:
	case 1:
		if b.Path = args[0]; b.Path == "" {
			return d.Err("backup: path is empty")
		}
	default:
		return d.Err("backup: wants a path, or a block")
	}
	seen := options{"path": b.Path != ""}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := seen.first(d); err != nil {
			return err
		}
		var err error
		switch d.Val() {
		case "path":
			err = textOption(d, &b.Path)
		case "every":
			err = duration(d, &b.Every)
		case "keep":
			var text string
			if err = textOption(d, &text); err == nil {
				if b.Keep, err = strconv.Atoi(text); err != nil || b.Keep < 1 {
					err = d.Errf("keep %q: must be a number from 1 on", text)
				}
			}
		case "recipients":
			err = textsOption(d, &b.Recipients)
		case "journal_only":
			err = toggle(d, &b.JournalOnly)
		default:
			return d.Errf("backup: unknown option %q", d.Val())
		}
		if err != nil {
			return err
		}
	}
	if b.Path == "" {
		return d.Err("backup: path is missing")
	}
	a.Backup = b
	return nil
}
