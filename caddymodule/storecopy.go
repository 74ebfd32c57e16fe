package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/command"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
)

// An offlineStore is the store of a configuration that is not running.
type offlineStore struct {
	app    *App // with the module alone
	cancel context.CancelFunc
	key    string
	store  tokenstore.Store // nil until open has returned
}

// copyStore copies the content of one configuration's store to another's. It is the command
// `oauth1 store copy`.
func copyStore(ctx context.Context, from, to []byte, progress func(command.CopiedKind)) (err error) {
	source, err := provisionOffline(from)
	if err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	defer func() { err = errors.Join(err, source.close()) }()
	target, err := provisionOffline(to)
	if err != nil {
		return fmt.Errorf("the target: %w", err)
	}
	defer func() { err = errors.Join(err, target.close()) }()
	if source.key == target.key {
		return fmt.Errorf("both configurations have the same store: %s", source.key)
	}
	exporter, err := source.openExisting()
	if err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	if err := checkFilled(ctx, source.store); err != nil {
		return err
	}
	var exporting error
	copied := 0
	importer, err := target.openEmpty(1) // the records have the floor
	if err == nil {
		err = importer.Import(ctx, withEvent(reported(exporter.Export(ctx), func(kind command.CopiedKind) {
			copied++
			progress(kind)
		}, &exporting), func() (*tokenstore.Kept, error) { return later(audit.StoreImported, copied) }))
	}
	switch {
	case exporting != nil:
		return fmt.Errorf("the source: %w", exporting)
	case errors.Is(err, tokenstore.ErrNotEmpty):
		return fmt.Errorf("the target: %w, or a Caddy has been started with it: "+
			"give another path or prefix, or remove what is there", err)
	case err != nil:
		return fmt.Errorf("the target: %w", err)
	}
	return nil
}

// reported calls progress with each record, and keeps the error of the source apart.
func reported(records iter.Seq2[any, error], progress func(command.CopiedKind), failed *error) iter.Seq2[any, error] {
	return func(yield func(any, error) bool) {
		for r, err := range records {
			if err != nil {
				*failed = err
			}
			if !yield(r, err) {
				return
			}
			switch r.(type) {
			case *tokenstore.Consumer:
				progress(command.CopiedConsumer)
			case *tokenstore.AccessToken:
				progress(command.CopiedAccessToken)
			case *tokenstore.RequestToken:
				progress(command.CopiedRequestToken)
			}
		}
	}
}

// provisionOffline loads the store's module of a configuration, and nothing else.
func provisionOffline(config []byte) (*offlineStore, error) {
	var full struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	if err := json.Unmarshal(config, &full); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	app := new(App)
	if raw := full.Apps["oauth1"]; raw != nil {
		if err := json.Unmarshal(raw, app); err != nil {
			return nil, fmt.Errorf("reading the oauth1 app: %w", err)
		}
	} else if !bytes.Contains(config, []byte(`"oauth1"`)) { // a handler alone has the default store
		return nil, errors.New("the configuration does not use oauth1")
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		return nil, err
	}
	ctx, cancel := caddy.NewContext(ctx)
	o := &offlineStore{app: app, cancel: cancel}
	if err = app.provisionStore(ctx); err == nil {
		o.key, err = app.module.PoolKey()
	}
	if err != nil {
		return nil, errors.Join(err, o.close())
	}
	return o, nil
}

// openExisting opens a store that should be there.
func (o *offlineStore) openExisting() (tokenstore.Transferrer, error) {
	if err := o.mustExist(); err != nil {
		return nil, err
	}
	return o.openWith(o.app.module.Open)
}

// mustExist refuses a store that is not there, which Open would make. The default path depends on
// the user of the system.
func (o *offlineStore) mustExist() error {
	m, ok := o.app.module.(tokenstore.Finder)
	if !ok {
		return nil
	}
	there, err := m.Exists()
	if err == nil && !there {
		err = fmt.Errorf("there is no store: %s: is it the right configuration, and the user that Caddy runs as?", o.key)
	}
	return err
}

func (o *offlineStore) openWith(open func() (tokenstore.Store, error)) (tokenstore.Transferrer, error) {
	store, err := open()
	if err != nil {
		return nil, err
	}
	o.store = store
	t, ok := store.(tokenstore.Transferrer)
	if !ok {
		return nil, fmt.Errorf("a store of this kind can't be copied: %s", o.key)
	}
	return t, nil
}

func (o *offlineStore) close() error {
	defer o.cancel()
	if o.store == nil {
		return nil
	}
	return o.store.Close()
}

// checkFilled refuses an empty source: its path may be a mistake. A store that can't count is not
// checked.
func checkFilled(ctx context.Context, store tokenstore.Store) error {
	s, ok := store.(tokenstore.Statter)
	if !ok {
		return nil
	}
	stats, err := s.Stats(ctx)
	if err != nil {
		return fmt.Errorf("the source: %w", err)
	}
	for _, stat := range stats {
		if stat.Value > 0 {
			return nil
		}
	}
	return errors.New("the source is empty: is it the right configuration?")
}
