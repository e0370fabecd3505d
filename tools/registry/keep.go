package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sort"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// manifestLimit is the size that the OCI distribution spec asks registries to
// accept at least; nothing here needs more.
const manifestLimit = 4 << 20

// keeper stores each manifest that the registry behind it accepted.
type keeper struct {
	dir  string
	next http.Handler
	refs referrers
	mu   sync.Mutex // orders the records as the registry saw the requests
	seq  int
}

func newKeeper(dir string, next http.Handler) *keeper {
	return &keeper{dir: dir, next: next, refs: referrers{of: map[string][]v1.Descriptor{}}}
}

// record is one accepted PUT or DELETE of a manifest.
type record struct {
	Method, Path, ContentType string
	Body                      []byte
}

func (k *keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	changes := r.Method == http.MethodPut || r.Method == http.MethodDelete
	if k.refs.serve(w, r) {
		return
	}
	if !changes || !isManifest(r.URL.Path) {
		k.next.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, manifestLimit))
	if err != nil {
		http.Error(w, "manifest is larger than 4 MiB, or was cut off", http.StatusRequestEntityTooLarge)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	answer := httptest.NewRecorder()
	k.next.ServeHTTP(answer, r)
	if answer.Code/100 == 2 {
		rec := record{Method: r.Method, Path: r.URL.Path, ContentType: r.Header.Get("Content-Type"), Body: body}
		if err := k.store(rec); err != nil {
			http.Error(w, "storing the manifest: "+err.Error(), http.StatusInternalServerError)
			return
		}
		k.note(rec)
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// isManifest tells /v2/NAME/manifests/REFERENCE from the rest. It looks at the
// place, not for the word: a repository may well be called "manifests".
func isManifest(path string) bool {
	_, _, ok := place(path, "manifests")
	return ok
}

// note keeps what refers to what as it is on disk.
func (k *keeper) note(rec record) {
	if rec.Method == http.MethodPut {
		k.refs.put(rec.Path, rec.ContentType, rec.Body)
	} else {
		k.refs.remove(rec.Path)
	}
}

func (k *keeper) store(rec record) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	name := filepath.Join(k.dir, fmt.Sprintf("%012d-%s.json", k.seq, hex.EncodeToString(sum[:8])))
	if err := os.WriteFile(name+".new", b, 0o600); err != nil {
		return err
	}
	k.seq++
	return os.Rename(name+".new", name)
}

// replay sends what was kept through the registry again, in its order.
func (k *keeper) replay() error {
	names, err := filepath.Glob(filepath.Join(k.dir, "*.json"))
	if err != nil {
		return err
	}
	sort.Strings(names)
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var rec record
		if err := json.Unmarshal(b, &rec); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(name), err)
		}
		req := httptest.NewRequest(rec.Method, rec.Path, bytes.NewReader(rec.Body))
		req.Header.Set("Content-Type", rec.ContentType)
		answer := httptest.NewRecorder()
		k.next.ServeHTTP(answer, req)
		if answer.Code/100 != 2 {
			return fmt.Errorf("%s: the registry answered %d", filepath.Base(name), answer.Code)
		}
		k.note(rec)
	}
	k.seq = len(names)
	return nil
}
