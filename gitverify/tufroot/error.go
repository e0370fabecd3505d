package tufroot

import (
	"errors"
	"fmt"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// The stable codes.
const (
	CodeAway      = "trust/away"
	CodeExpired   = "trust/expired"
	CodeMalformed = "trust/malformed"
	CodeMismatch  = "trust/mismatch"
	CodeRollback  = "trust/rollback"
	CodeSignature = "trust/signature"
	CodeSize      = "trust/size"
)

// Error says why a trusted root could not be had or renewed. It is about the
// trusted root alone, never about a commit.
type Error struct {
	// Code is one of the stable codes.
	Code string
	// Role is the piece it is about: root, timestamp, snapshot, targets, the
	// name of the target, or cache.
	Role string
	// Hint says what would mend it.
	Hint string
	// Err is what was found.
	Err error
}

// Error is one line.
func (e *Error) Error() string {
	return fmt.Sprintf("trusted root: %s (%s): %v", e.Role, e.Code, e.Err)
}

// Unwrap gives what was found.
func (e *Error) Unwrap() error { return e.Err }

// Reason is a row of the table of codes.
type Reason struct{ Code, Hint string }

// Reasons lists every code with what would mend it.
func Reasons() []Reason {
	return []Reason{
		{CodeAway, "check the URL of the TUF repository and the network to it; the trusted root that was fetched before stays in force until it expires"},
		{CodeExpired, "have the operator of the TUF repository publish fresh metadata, or give a trusted_root.json file that you checked yourself"},
		{CodeMalformed, "the repository or the cache holds what is no TUF metadata or no trusted root: tell its operator; a broken cache is replaced by the next refresh"},
		{CodeMismatch, "files of the TUF repository do not belong together: a publication under way, a stale mirror, or somebody who mixes them; it is tried again"},
		{CodeRollback, "the repository offers older metadata than it did before: ask its operator why; nobody takes it"},
		{CodeSignature, "the metadata lacks the signatures that the root asks for: check that the initial root belongs to this repository, and tell its operator"},
		{CodeSize, "the repository sends more than any trusted root needs: check the URL; after very many rotations give a newer initial root"},
	}
}

func hintFor(code string) string {
	for _, r := range Reasons() {
		if r.Code == code {
			return r.Hint
		}
	}
	return ""
}

// bad makes an error of a code.
func bad(code, role, format string, args ...any) *Error {
	return &Error{Code: code, Role: role, Hint: hintFor(code), Err: fmt.Errorf(format, args...)}
}

// because gives an error of the TUF library its code; none stays none.
func because(role string, err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	code := CodeMalformed
	switch {
	case errors.Is(err, &metadata.ErrExpiredMetadata{}):
		code = CodeExpired
	case errors.Is(err, &metadata.ErrUnsignedMetadata{}):
		code = CodeSignature
	case errors.Is(err, &metadata.ErrBadVersionNumber{}):
		code = CodeRollback
	case errors.Is(err, &metadata.ErrLengthOrHashMismatch{}):
		code = CodeMismatch
	}
	return &Error{Code: code, Role: role, Hint: hintFor(code), Err: err}
}

// Expired says that a trusted root is [Frozen].
func Expired(at time.Time) *Error {
	return bad(CodeExpired, "metadata", "it expired at %s and no fresh one was had since; no new revision is taken", at.UTC().Format(time.RFC3339))
}
