package caddymodule

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// answerError lets the site's error routes (handle_errors) answer a refusal. If there are none, or
// none of them answers, it calls fallback. Returning the error to Caddy's server would not be
// enough: if no route answers, the server writes an empty body, but clients read the reason in the
// body. The text for the routes contains no markup characters, because clients send a part of it.
func (h *Handler) answerError(w http.ResponseWriter, r *http.Request, p *refusal.Problem, fallback func(http.ResponseWriter) error) error {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server.Errors == nil || len(server.Errors.Routes) == 0 {
		return fallback(w)
	}
	if !h.passes(p) {
		h.dropSecretForm(r)
	}
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		r.Method, r.RemoteAddr = original.Method, original.RemoteAddr
		// The request line still has the credentials that were removed from its URL.
		r.RequestURI = original.URL.RequestURI()
		*r.URL = *original.URL
	}
	r = server.Errors.WithError(r, caddyhttp.Error(p.Status, errors.New(refusal.Safe(p.Text))))

	watched := &watchedWriter{ResponseWriter: w}
	nobody := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(p.Status)
		return nil
	})
	if err := server.Errors.Routes.Compile(nobody).ServeHTTP(watched, r); err != nil {
		if watched.wrote {
			return err
		}
		// The client still gets the reason of the refusal.
		h.logger.Error("an error route failed", zap.Error(err))
		return fallback(w)
	}
	if watched.wrote {
		return nil
	}
	if watched.status == 0 || watched.status == p.Status {
		return fallback(w)
	}
	w.WriteHeader(watched.status)
	return nil
}

// watchedWriter holds a status back until there is a body. So an answer with only a status can be
// told from one with a body. It has no Unwrap: a flush of the writer below would send the wrong
// status.
type watchedWriter struct {
	http.ResponseWriter
	status int
	wrote  bool
}

// WriteHeader remembers the status.
func (w *watchedWriter) WriteHeader(status int) {
	if w.wrote || (status >= 100 && status < 200) {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if w.status == 0 {
		w.status = status
	}
}

// Write writes the held status, and the body.
func (w *watchedWriter) Write(body []byte) (int, error) {
	if !w.wrote {
		w.wrote = true
		if w.status != 0 {
			w.ResponseWriter.WriteHeader(w.status)
		}
	}
	return w.ResponseWriter.Write(body)
}
