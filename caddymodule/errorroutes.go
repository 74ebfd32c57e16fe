package caddymodule

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/refusal"
)

// answerError gives the site's error routes (handle_errors) the chance to answer a refusal. Where there
// are none, or none of them answers, fallback does. To return the error to Caddy's server would do only
// the first half: it writes an empty body then, and clients read the reason in ours. The routes get the
// text without anything that could be markup, since clients send a part of it.
func (h *Handler) answerError(w http.ResponseWriter, r *http.Request, p *refusal.Problem, fallback func(http.ResponseWriter) error) error {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server.Errors == nil || len(server.Errors.Routes) == 0 {
		return fallback(w)
	}
	h.dropSecretForm(r)
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		r.Method, r.RemoteAddr = original.Method, original.RemoteAddr
		r.RequestURI = original.URL.RequestURI() // the request line itself still has the credentials that its URL lost
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
		h.logger.Error("an error route failed", zap.Error(err)) // the client still learns why it was refused
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

// watchedWriter holds a status back until there is a body, so that an answer which is only the status can be told from one
// that says something. It does not unwrap: to flush what lies beneath would pass the status by.
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

// Write writes the status that was held back, and the body.
func (w *watchedWriter) Write(body []byte) (int, error) {
	if !w.wrote {
		w.wrote = true
		if w.status != 0 {
			w.ResponseWriter.WriteHeader(w.status)
		}
	}
	return w.ResponseWriter.Write(body)
}
