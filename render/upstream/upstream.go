// Package upstream materialises the manifests of other projects, checked, into
// a factory repository.
//
// This project never commits another project's manifests. A component names in
// bases/<component>/upstream.lock the Go module that carries them: module path,
// version, the h1: sums that go.sum would hold, and every file taken, with its
// size and SHA-256 digest. Materialise reads all locks, gets each module
// through the ordinary go command, and writes the files to
// bases/<component>/upstream/, where a factory repository commits and signs
// them, because rendering has no network.
//
// What vouches for the bytes, each on its own sufficient:
//
//   - the go command, which verifies the module against the two sums of the lock
//     (handed to it as a go.sum), so a pinned module needs no question to the
//     checksum database, and none is ever switched off; Update, which has no
//     pin yet, leaves go.sum empty and so requires the checksum database;
//   - this package, which computes the h1: sum again over the zip that it reads
//     (the go command trusts a zip that is in its cache already), and takes
//     every file from those same bytes;
//   - the digest of each file.
//
// It refuses, and then changes nothing in any component: a sum, size or digest
// that differs; a file that the module does not have; a lock with unknown or
// duplicate fields, or with a path that is not plain (absolute, "..", a
// backslash, a hidden name, two targets that differ in case only); an entry
// that is not a regular file; a link where a directory should be; anything over
// the bounds below. It does not read what it takes: YAML is render's business.
//
// A component whose files already have their digests is left alone, without
// starting the go command.
package upstream

import (
	"fmt"
)

// Bounds. They are far above what real releases need and far below what hurts.
const (
	maxLockBytes  = 256 << 10
	maxFiles      = 512
	maxFileBytes  = 16 << 20
	maxTotalBytes = 64 << 20
	maxZipBytes   = 256 << 20
	maxZipEntries = 100_000
	maxUnzipped   = 1 << 30
	maxComponents = 64
)

// Reasons of a Refusal: stable, CamelCase.
const (
	// ReasonMismatch: what was found is not what the lock pins.
	ReasonMismatch = "UpstreamMismatch"
	// ReasonLock: the lock itself cannot be accepted.
	ReasonLock = "UpstreamLockInvalid"
)

// Refusal is a definite no: final until the lock, the module or the tree changes.
type Refusal struct {
	// Reason is ReasonMismatch or ReasonLock.
	Reason string `json:"reason"`
	// Code is the finer stable code, for example "upstream/digest".
	Code string `json:"code"`
	// Component is the directory under bases/.
	Component string `json:"component"`
	// File is the file concerned, as the lock names it; empty for a module.
	File string `json:"file,omitempty"`
	// Want is what the lock pins and Got what was found, where that applies.
	Want string `json:"want,omitempty"`
	Got  string `json:"got,omitempty"`
	// Hint says what would mend it.
	Hint string `json:"hint"`
}

// Error is one line: reason, code, place, want, got, hint.
func (r *Refusal) Error() string {
	place := r.Component
	if r.File != "" {
		place += ": " + r.File
	}
	s := fmt.Sprintf("%s (%s): %s", r.Reason, r.Code, place)
	if r.Want != "" {
		s += fmt.Sprintf(": want %s", r.Want)
	}
	if r.Got != "" {
		s += fmt.Sprintf(": got %s", r.Got)
	}
	return s + ": " + r.Hint
}

// State says what Materialise did with a component.
type State string

// The states of a component.
const (
	// Current: every file was there with its digest; nothing was fetched.
	Current State = "current"
	// Written: upstream/ was written from the module.
	Written State = "written"
)

// Component is the result for one component.
type Component struct {
	Name    string `json:"name"`
	Module  string `json:"module"`
	Version string `json:"version"`
	Sum     string `json:"sum"`
	Files   int    `json:"files"`
	Bytes   int64  `json:"bytes"`
	State   State  `json:"state"`
}

// Change is one file whose pin an Update moved.
type Change struct {
	Component string `json:"component"`
	// File is the path in the module; empty where the module's own sum moved.
	File string `json:"file,omitempty"`
	// Old and New are digests; Old is empty for a file newly pinned.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
	// Note is set for a file that is not taken but lies beside files that are.
	Note string `json:"note,omitempty"`
}
