package tufroot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// cacheFile holds everything that was fetched: one file, so that it is replaced
// as a whole or not at all.
const cacheFile = "tuf.json"

// maxCache bounds the cache; the roots of the public-good repository since its
// beginning have about 80 KB.
const maxCache = 16 << 20

// record is the content of the cache, every piece in the bytes that were
// signed. Nothing in it is believed: see [Client.Current].
type record struct {
	// Fetched is when the repository last answered.
	Fetched time.Time `json:"fetched"`
	// Roots are the rotations after the initial root, the oldest first.
	Roots [][]byte `json:"roots"`
	// Under is the version of the root that the rest was verified under. Newer
	// roots may be known already, without anything good below them yet.
	Under     int64  `json:"under"`
	Timestamp []byte `json:"timestamp,omitempty"`
	Snapshot  []byte `json:"snapshot,omitempty"`
	Targets   []byte `json:"targets,omitempty"`
	Target    []byte `json:"target,omitempty"`
}

func (r record) encode() ([]byte, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding the cache: %w", err)
	}
	if len(raw) > maxCache {
		return nil, bad(CodeSize, "cache", "roots and metadata have more than %d bytes", maxCache)
	}
	return raw, nil
}

func decodeCache(raw []byte) (record, error) {
	var r record
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return record{}, bad(CodeMalformed, "cache", "%w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return record{}, bad(CodeMalformed, "cache", "something follows its end")
	}
	if len(r.Roots) > maxRotations {
		return record{}, bad(CodeSize, "cache", "more than %d rotations since the initial root", maxRotations)
	}
	return r, nil
}

func readCache(dir string) ([]byte, error) {
	file, err := os.Open(filepath.Join(dir, cacheFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, bad(CodeAway, "cache", "no trusted root was fetched yet")
	}
	if err != nil {
		return nil, bad(CodeAway, "cache", "%w", err)
	}
	defer file.Close()
	raw, err := io.ReadAll(io.LimitReader(file, maxCache+1))
	if err != nil {
		return nil, bad(CodeAway, "cache", "%w", err)
	}
	if len(raw) > maxCache {
		return nil, bad(CodeSize, "cache", "it is larger than %d bytes", maxCache)
	}
	return raw, nil
}

// writeCache replaces the cache so that a crash leaves the old one or the new
// one.
func writeCache(dir string, raw []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the folder of the trusted root: %w", err)
	}
	file, err := os.CreateTemp(dir, cacheFile+".*")
	if err != nil {
		return fmt.Errorf("storing the trusted root: %w", err)
	}
	defer os.Remove(file.Name()) // gone already when it was renamed
	_, err = file.Write(raw)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(dir, cacheFile))
	}
	if err != nil {
		return fmt.Errorf("storing the trusted root: %w", err)
	}
	return nil
}
