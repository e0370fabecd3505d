// Package tuftest is a TUF repository for tests: real metadata, really signed,
// served over HTTP on loopback from the memory of the process. It rotates keys
// and publishes as an honest operator does, and it lies in every way that a
// stolen key, a stale mirror or a hostile network can: old files again, too few
// signatures, versions out of order, files that do not belong together, files
// that never end.
//
// It is a kit for tests: nothing that is released may import it.
package tuftest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Roles in the order of the chain.
const (
	Root      = "root"
	Timestamp = "timestamp"
	Snapshot  = "snapshot"
	Targets   = "targets"
)

// Target is the file that is published.
const Target = "trusted_root.json"

// thresholds of the roles; each has as many keys, root one more.
func thresholds() map[string]int {
	return map[string]int{Root: 2, Timestamp: 1, Snapshot: 1, Targets: 2}
}

// Lifetime of metadata that a [Change] says nothing about.
const Lifetime = 7 * 24 * time.Hour

type key struct {
	id     string
	public *metadata.Key
	signer signature.Signer
}

// Repository is one repository with its server.
type Repository struct {
	// Now is the instant at which metadata is made.
	Now    time.Time
	server *httptest.Server

	mu     sync.Mutex
	files  map[string][]byte
	faults map[string]http.HandlerFunc
	asked  int

	keys     map[string][]key
	versions map[string]int64
	initial  []byte
	target   []byte
}

// Change is one publication. Its zero value renews the timestamp and the
// snapshot, as an operator does every few days.
type Change struct {
	// Target is a new trusted root.
	Target []byte
	// Rotate gives these roles new keys, which takes a new root.
	Rotate []string
	// Versions sets versions that would else be the next ones.
	Versions map[string]int64
	// Expires sets when metadata expires.
	Expires map[string]time.Time
	// Signers is how many of a role's keys sign; without an entry all do, 0
	// means that a stranger signs in their name.
	Signers map[string]int
	// Forget leaves out the signatures of the root before, as a thief has to
	// who has made new keys for himself.
	Forget bool
	// Name is the name of the target, if not [Target].
	Name string
	// Spec sets the version of the specification that a role's metadata names.
	Spec map[string]string
	// Silent leaves out what these roles say of the metadata below them.
	Silent []string
}

// Start makes a repository that publishes a first trusted root, and serves it
// until Stop is called.
func Start(now time.Time, target []byte) (*Repository, error) {
	r := &Repository{
		Now: now, files: map[string][]byte{}, faults: map[string]http.HandlerFunc{},
		keys: map[string][]key{}, versions: map[string]int64{},
	}
	if err := r.Publish(Change{Target: target, Rotate: []string{Root, Timestamp, Snapshot, Targets}, Forget: true}); err != nil {
		return nil, err
	}
	r.initial = r.files["1.root.json"]
	r.server = httptest.NewServer(http.HandlerFunc(r.serve))
	return r, nil
}

// URL is where the repository is served.
func (r *Repository) URL() string { return r.server.URL }

// Stop ends the server.
func (r *Repository) Stop() { r.server.Close() }

// InitialRoot is the first root, which clients are given.
func (r *Repository) InitialRoot() []byte { return r.initial }

// Asked is how many requests were answered.
func (r *Repository) Asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// Files is a copy of all that is served now, to serve it again later.
func (r *Repository) Files() map[string][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.files)
}

// Serve serves these files instead.
func (r *Repository) Serve(files map[string][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files = maps.Clone(files)
}

// Put serves one file with other content; nil takes it away.
func (r *Repository) Put(name string, data []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files[name] = data; data == nil {
		delete(r.files, name)
	}
}

// Fault answers requests for a file in another way; nil mends it.
func (r *Repository) Fault(name string, answer http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults[name] = answer
}

// Newest is the name of the file that holds the newest metadata of a role, or
// the newest target.
func (r *Repository) Newest(role string) string {
	switch role {
	case Timestamp:
		return "timestamp.json"
	case Target:
		sum := sha256.Sum256(r.target)
		return "targets/" + hex.EncodeToString(sum[:]) + "." + Target
	default:
		return fmt.Sprintf("%d.%s.json", r.versions[role], role)
	}
}

func (r *Repository) serve(w http.ResponseWriter, req *http.Request) {
	name := strings.TrimPrefix(req.URL.Path, "/")
	r.mu.Lock()
	data, ok := r.files[name]
	fault := r.faults[name]
	r.asked++
	r.mu.Unlock()
	switch {
	case fault != nil:
		fault(w, req)
	case !ok:
		http.NotFound(w, req)
	default:
		_, _ = w.Write(data)
	}
}

func newKey() (key, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return key{}, err
	}
	signer, err := signature.LoadSigner(private, crypto.Hash(0))
	if err != nil {
		return key{}, err
	}
	described, err := metadata.KeyFromPublicKey(public)
	if err != nil {
		return key{}, err
	}
	id, err := described.ID()
	return key{id, described, signer}, err
}
