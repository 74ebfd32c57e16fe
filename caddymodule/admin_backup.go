package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/adminapi"
	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/audit"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/backup"
)

// answered is the status of a call that has written its answer itself.
const answered = 0

const (
	// backupPatience is how long a caller may take to read some of a backup, and how long it may have
	// been too slow in all.
	backupPatience = time.Minute
	// backupRate is how many bytes a second a caller must read apart from that. What is being read
	// can't be freed in the store.
	backupRate = 1 << 20
)

// sendBackup streams a backup of the store. One that is cut off has no trailer, and the connection
// is closed without an end.
func (c *adminCall) sendBackup() (int, any, error) {
	// As for an export with secrets: a remote administrator who may only read must not get them.
	if c.TLS != nil {
		return 0, nil, failure(http.StatusForbidden, "backups are sent at the local admin endpoint only")
	}
	query, err := url.ParseQuery(c.URL.RawQuery)
	if err != nil {
		return 0, nil, failure(http.StatusBadRequest, "the query is malformed")
	}
	for name := range query {
		if name != "recipient" {
			return 0, nil, failure(http.StatusBadRequest, "unknown query parameter %q", name)
		}
	}
	recipients, err := backup.ParseRecipients(query["recipient"])
	if err != nil {
		return 0, nil, refuse(err)
	}
	if len(recipients) == 0 && c.app.Backup != nil {
		recipients = c.app.Backup.recipients
	}
	if c.Method == http.MethodHead {
		return http.StatusOK, nil, nil
	}
	if !c.app.pooled.sending.CompareAndSwap(false, true) {
		return 0, nil, failure(http.StatusConflict, "another backup of the store is being sent: one at a time")
	}
	defer c.app.pooled.sending.Store(false)
	h, err := c.app.backupHeader()
	if err != nil {
		return 0, nil, failure(http.StatusServiceUnavailable, "%w", err)
	}
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	out := &patientWriter{w: c.writer, name: backup.FileName(h.Time)}
	var failed error
	event := c.event(audit.BackupMade)
	err = c.events.change(event, func() error {
		if _, failed = writeBackup(ctx, c.store, out, h, recipients); failed != nil && out.begun {
			event.Outcome = audit.Failed // told all the same: the caller has what was sent
		}
		return failed
	})
	switch {
	case err == nil:
		return answered, nil, nil
	case out.begun:
		c.events.logger.Warn("a backup was cut off", zap.String("remote", c.RemoteAddr), zap.Error(err))
		panic(http.ErrAbortHandler)
	case errors.Is(failed, errNoBackup):
		return 0, nil, failure(http.StatusNotImplemented, "%w", failed)
	case failed != nil:
		return 0, nil, storeFailure("", failed)
	}
	return 0, nil, unrecordedFailure(err)
}

// A patientWriter gives the caller some time for each part, and for all parts so far. The time that
// the store takes does not count.
type patientWriter struct {
	w     http.ResponseWriter
	name  string
	begun bool
	sent  int64
	took  time.Duration
}

func (w *patientWriter) Write(b []byte) (int, error) {
	if !w.begun {
		w.begun = true
		w.w.Header().Set("Content-Type", adminapi.BackupType)
		w.w.Header().Set("Content-Disposition", `attachment; filename="`+w.name+`"`)
	}
	begun := time.Now()
	// Some connections have no deadlines, such as those of tests.
	_ = http.NewResponseController(w.w).SetWriteDeadline(begun.Add(w.patience(len(b))))
	n, err := w.w.Write(b)
	w.sent += int64(n)
	w.took += time.Since(begun)
	return n, err
}

// patience is how long the caller may take for the next bytes.
func (w *patientWriter) patience(n int) time.Duration {
	inAll := backupPatience + time.Duration(float64(w.sent+int64(n))/backupRate*float64(time.Second))
	return min(backupPatience, inAll-w.took)
}
