package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/gitverify/tufroot/tuftest"
	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/report"
)

func TestTheTrustedRootComesFromOnePlace(t *testing.T) {
	t.Parallel()
	for flags, want := range map[string]string{
		"--trusted-root f":               "",
		"--trusted-root-tuf public-good": "",
		"--trusted-root-tuf https://tuf.factory.example --trusted-root-tuf-root r": "",
		"--trusted-root-tuf public-good --trusted-root-tuf-root r":                 "",
		"": "--trusted-root or --trusted-root-tuf is required",
		"--trusted-root f --trusted-root-tuf public-good":           "exclude each other",
		"--trusted-root f --trusted-root-tuf-root r":                "is for --trusted-root-tuf",
		"--trusted-root-tuf https://tuf.factory.example":            "needs --trusted-root-tuf-root",
		"--trusted-root-tuf public-good --trusted-root-grace -1h":   "must not be negative",
		"--trusted-root-tuf public-good --trusted-root-interval 1s": "a minute or more",
	} {
		args := append([]string{"--data-dir", "d", "--policy-engine", "p"}, strings.Fields(flags)...)
		_, err := parse(args, io.Discard)
		if got := ""; err != nil {
			if got = err.Error(); want == "" || !strings.Contains(got, want) {
				t.Errorf("%q: %s, want %q", flags, got, want)
			}
		} else if want != "" {
			t.Errorf("%q is accepted", flags)
		}
	}
}

// lines is a log that a test reads while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), text)
}

func TestTheRefresherWorksBesideThePassesInEveryReplica(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC()
	virtual, err := sigstoretest.NewVirtual(now)
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := virtual.TrustedRootJSON()
	if err != nil {
		t.Fatal(err)
	}
	repo, err := tuftest.Start(now, trusted)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(repo.Stop)
	dir := t.TempDir()
	root := filepath.Join(dir, "root.json")
	if err := os.WriteFile(root, repo.InitialRoot(), 0o600); err != nil {
		t.Fatal(err)
	}
	options := repositoryOptions{url: repo.URL(), root: root, grace: time.Hour, interval: time.Hour}
	client, err := options.client(dir)
	if err != nil {
		t.Fatal(err)
	}
	source := reconciler.TrustRepository(client, options.grace, time.Now)
	if _, err := source(); err == nil {
		t.Error("a pass fetched the trusted root itself")
	}
	var log lines
	registry := prometheus.NewRegistry()
	metrics, err := report.NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	r := &refresher{client: client, options: options, metrics: metrics, log: logr.FromSlogHandler(slog.NewJSONHandler(&log, nil))}
	if r.NeedLeaderElection() {
		t.Error("a replica that waits does not refresh")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Start(ctx) }()
	for deadline := time.Now().Add(20 * time.Second); !log.has("the trusted root is fresh"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing was refreshed")
		}
	}
	if !log.has(`"state":"Good"`) {
		t.Errorf("the log does not say how fresh it is: %s", log.b.String())
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	told := 0.0
	for _, family := range families {
		if family.GetName() == "millwright_trusted_root_expiry_timestamp_seconds" {
			told = family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	if want := float64(now.Add(tuftest.Lifetime).Unix()); told != want {
		t.Errorf("the metric says that it expires at %f, want %f", told, want)
	}
	if trust, err := source(); err != nil || !bytes.Equal(trust.Data, trusted) {
		t.Errorf("the pass has no trusted root: %v", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the end of the refresher: %v", err)
	}
}
