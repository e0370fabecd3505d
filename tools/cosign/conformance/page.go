package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// page is what is served: metrics, and whether this program works. That runs are not
// signed, or the registry is away, is no failure of it.
type page struct {
	interval time.Duration

	mu   sync.Mutex
	last time.Time // of the newest pass that went through
	runs map[state]int
}

func (p *page) set(now time.Time, verdicts []verdict) {
	runs := map[state]int{}
	for _, v := range verdicts {
		runs[v.state]++
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last, p.runs = now, runs
}

// ready is so while passes go through.
func (p *page) ready(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.last.IsZero() && now.Sub(p.last) < 3*p.interval+passTimeout
}

func (p *page) metrics() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var text strings.Builder
	text.WriteString("# HELP millwright_conformance_runs Build runs that succeeded, by whether they are signed.\n# TYPE millwright_conformance_runs gauge\n")
	for _, s := range []state{signed, unsigned, unknown} {
		fmt.Fprintf(&text, "millwright_conformance_runs{state=%q} %d\n", s, p.runs[s])
	}
	if !p.last.IsZero() {
		text.WriteString("# HELP millwright_conformance_last_pass_timestamp_seconds When all runs were looked at last.\n" +
			"# TYPE millwright_conformance_last_pass_timestamp_seconds gauge\n")
		fmt.Fprintf(&text, "millwright_conformance_last_pass_timestamp_seconds %d\n", p.last.Unix())
	}
	return text.String()
}

func (p *page) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		fmt.Fprint(w, p.metrics())
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !p.ready(time.Now()) {
			http.Error(w, "no pass has gone through lately", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

func (p *page) serve(ctx context.Context, addr string) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	server := &http.Server{Handler: p.handler(), ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
