package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// makeConfigMap lays a folder out as the kubelet does.
func makeConfigMap(t *testing.T, data map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for key, value := range data {
		write(t, filepath.Join(dir, "..2026_11_27", key), value, 0o600)
		if err := os.Symlink(filepath.Join("..data", key), filepath.Join(dir, key)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("..2026_11_27", filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func get(t *testing.T, h http.Handler, method, path string) (int, string) {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, "http://x/", nil)
	req.URL.Path = path
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func TestATUFRepositoryIsServedFromAConfigMap(t *testing.T) {
	t.Parallel()
	hash := strings.Repeat("a", 128)
	h := fileHandler{flat: true, root: openRoot(t, makeConfigMap(t, map[string]string{
		"1.root.json": "root", "timestamp.json": "timestamp", "targets__" + hash + ".fulcio_v1.crt.pem": "fulcio", "a__b__c.json": "deep",
	}))}
	for path, want := range map[string]string{
		"/1.root.json": "root", "/timestamp.json": "timestamp", "/targets/" + hash + ".fulcio_v1.crt.pem": "fulcio", "/a/b/c.json": "deep",
	} {
		if code, body := get(t, h, http.MethodGet, path); code != http.StatusOK || body != want {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	for _, path := range []string{
		"", "/", "//timestamp.json", "/timestamp.json/", "/targets__" + hash + ".fulcio_v1.crt.pem", "/targets", "/a__b/c.json", "/a_/b", "/a/_b/c.json",
		"/..data/timestamp.json", "/..2026_11_27/timestamp.json", "/..data", "/../x", "/.", "/a/../timestamp.json", "/nothing.json", "/timestamp.json\x00",
		"/" + strings.Repeat("a/", 1000) + "a", "timestamp.json",
	} {
		if code, body := get(t, h, http.MethodGet, path); code != http.StatusNotFound {
			t.Errorf("%q: %d %q", path, code, body)
		}
	}
	if code, _ := get(t, h, http.MethodPut, "/timestamp.json"); code != http.StatusMethodNotAllowed {
		t.Errorf("PUT: %d", code)
	}
	if code, body := get(t, h, http.MethodHead, "/timestamp.json"); code != http.StatusOK || body != "" {
		t.Errorf("HEAD: %d %q", code, body)
	}
}

func TestNoTwoPathsHaveOneKey(t *testing.T) {
	t.Parallel()
	keys := map[string]string{}
	alphabet := []string{"a", "_", "/", "."}
	var try func(s string, n int)
	try = func(s string, n int) {
		if name, ok := fileName("/"+s, true); ok {
			if other, twice := keys[name]; twice {
				t.Errorf("%q and %q both are %q", s, other, name)
			}
			keys[name] = s
		}
		for _, c := range alphabet {
			if n > 0 {
				try(s+c, n-1)
			}
		}
	}
	try("", 7)
	if len(keys) < 100 {
		t.Errorf("only %d paths have a key", len(keys))
	}
}

func TestAFolderIsServedWithoutWhatLeadsOutOfIt(t *testing.T) {
	t.Parallel()
	dir, secret := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	write(t, secret, "secret", 0o600)
	write(t, filepath.Join(dir, "sub", "index.html"), "page", 0o600)
	write(t, filepath.Join(dir, ".hidden"), "hidden", 0o600)
	if err := os.Symlink(secret, filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	h := fileHandler{root: openRoot(t, dir)}
	if code, body := get(t, h, http.MethodGet, "/sub/index.html"); code != http.StatusOK || body != "page" {
		t.Errorf("%d %q", code, body)
	}
	for _, path := range []string{"/out", "/sub", "/sub/", "/", "/.hidden", "/sub/../.hidden"} {
		if code, body := get(t, h, http.MethodGet, path); code != http.StatusNotFound {
			t.Errorf("%q: %d %q", path, code, body)
		}
	}
}

// syncBuffer is written by the server and read by the test.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestItServesUntilItIsToldToStop(t *testing.T) {
	t.Parallel()
	dir := makeConfigMap(t, map[string]string{"timestamp.json": "timestamp"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out syncBuffer
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"serve", "-dir", dir, "-addr", "127.0.0.1:0", "-separator", "__"}, &out)
	}()
	var addr string
	for end := time.Now().Add(10 * time.Second); addr == ""; time.Sleep(5 * time.Millisecond) {
		if _, after, ok := strings.Cut(out.String(), "serving on "); ok && strings.HasSuffix(after, "\n") {
			addr = strings.TrimSpace(after)
		}
		if time.Now().After(end) {
			t.Fatal("does not serve")
		}
	}
	resp, err := http.Get("http://" + addr + "/timestamp.json")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if string(b) != "timestamp" || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%q %v", b, resp.Header)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := run(t.Context(), []string{"serve", "-dir", dir, "-separator", "_"}, io.Discard); err == nil {
		t.Error("an ambiguous separator is accepted")
	}
}
