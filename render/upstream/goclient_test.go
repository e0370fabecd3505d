package upstream_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"millwright.dev/millwright/render/upstream"
)

// component copies the lock of one of this repository's own components.
func component(t *testing.T, name string) (root, lock string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "bases", name, "upstream.lock"))
	if err != nil {
		t.Fatal(err)
	}
	root = t.TempDir()
	lock = filepath.Join(root, "bases", name, "upstream.lock")
	if err := os.MkdirAll(filepath.Dir(lock), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(lock, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return root, lock
}

func TestTektonsRealModuleIsMaterialisedByTheGoCommand(t *testing.T) {
	t.Parallel()
	root, _ := component(t, "tekton-pipelines")
	got, err := upstream.Materialise(t.Context(), root, nil, upstream.Go("go"))
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].State != upstream.Written || got[0].Files != 52 {
		t.Fatalf("got %+v, want 52 files written", got)
	}
	data, err := os.ReadFile(filepath.Join(root, "bases/tekton-pipelines/upstream/300-crds/300-task.yaml"))
	if err != nil || !strings.Contains(string(data), "kind: CustomResourceDefinition") {
		t.Errorf("a CRD holds %d bytes, %v", len(data), err)
	}
}

// The go command sees the pins as a go.sum and finds the difference itself.
func TestTheGoCommandRefusesAModuleWithAnotherSum(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"\n  sum: h1:", "\n  goModSum: h1:"} {
		t.Run(strings.TrimSpace(key), func(t *testing.T) {
			t.Parallel()
			root, lock := component(t, "spire")
			data, err := os.ReadFile(lock)
			if err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(string(data), key)
			was := key + rest[:8]
			edit(t, lock, was, key+"AAAAAAAA")
			_, err = upstream.Materialise(t.Context(), root, nil, upstream.Go("go"))
			var no *upstream.Refusal
			if !errors.As(err, &no) || no.Reason != upstream.ReasonMismatch || no.Code != "upstream/sum" {
				t.Fatalf("got %v, want upstream/sum", err)
			}
		})
	}
}

// Not parallel: it sets the environment that the go command inherits.
func TestWhatWouldSwitchTheChecksumDatabaseOffNeverReachesTheGoCommand(t *testing.T) {
	dir := t.TempDir()
	seen := filepath.Join(dir, "env")
	fake := filepath.Join(dir, "go")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\nenv > '"+seen+"'\nls >> '"+seen+"'\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, kv := range []string{"GOFLAGS=-insecure", "GONOSUMDB=*", "GOSUMDB=off", "GOINSECURE=*", "GOWORK=/elsewhere/go.work"} {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	root, _ := component(t, "spire")
	if _, err := upstream.Update(t.Context(), root, nil, upstream.Go(fake)); err == nil {
		t.Fatal("a go command that fails was believed")
	}
	env, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(env), "\n") {
		switch {
		case line == "go.sum":
			t.Error("an update handed the old sums to the go command")
		case line == "GOFLAGS=-mod=mod", line == "GONOSUMDB=none.invalid", line == "GOSUMDB=sum.golang.org", line == "GOWORK=off":
		case strings.HasPrefix(line, "GOFLAGS="), strings.HasPrefix(line, "GONOSUMDB="), strings.HasPrefix(line, "GOSUMDB="),
			strings.HasPrefix(line, "GOINSECURE="), strings.HasPrefix(line, "GOWORK="):
			t.Errorf("the go command was given %s", line)
		}
	}
}

func TestAModuleThatDoesNotExistIsNotARefusal(t *testing.T) {
	t.Parallel()
	root, lock := component(t, "spire")
	edit(t, lock, "version: v0.6.4", "version: v0.0.0-20000101000000-000000000000")
	_, err := upstream.Materialise(t.Context(), root, nil, upstream.Go("go"))
	var no *upstream.Refusal
	if err == nil || errors.As(err, &no) {
		t.Fatalf("got %v, want an error that can be retried", err)
	}
}
