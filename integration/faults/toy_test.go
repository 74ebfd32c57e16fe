package faults

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-oauth1/caddy-oauth1/caddymodule/oauth1"
)

// toyConfig is the variable of the environment that makes the test binary a toy.
const toyConfig = "FAULTS_TOY"

// A toy is a sidecar that remembers nonces as many do: SET NX with a time, without a fence. It
// judges neither signatures nor clocks. The checker must find replays that it accepts; else the
// faults would prove nothing.
type toy struct {
	Listen         string
	Addresses      []string
	SentinelMaster string
}

func serveToy(config string) error {
	var y toy
	if err := json.Unmarshal([]byte(config), &y); err != nil {
		return err
	}
	option := rueidis.ClientOption{
		InitAddress: y.Addresses, DisableCache: true, DisableRetry: true,
		Dialer: net.Dialer{Timeout: time.Second}, ConnWriteTimeout: time.Second,
		Sentinel: rueidis.SentinelOption{MasterSet: y.SentinelMaster, TopologyRefreshInterval: time.Second},
	}
	client, err := rueidis.NewClient(option)
	if err != nil {
		return err
	}
	return http.ListenAndServe(y.Listen, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		params, err := oauth1.Parse(r.Header["Authorization"], "", nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), 500*time.Millisecond)
		defer cancel()
		key := "nonce:" + params.ConsumerKey + ":" + params.Timestamp + ":" + params.Nonce
		err = client.Do(ctx, client.B().Set().Key(key).Value("").Nx().Ex(10*time.Minute).Build()).Error()
		switch {
		case rueidis.IsRedisNil(err):
			http.Error(w, usedText, http.StatusUnauthorized)
		case err != nil:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "later", http.StatusServiceUnavailable)
		}
	}))
}
