package gitverify

import (
	"context"
	"errors"
	"fmt"
)

// ErrNotLogged is what a [LogLookup] wraps when the log answered, and has no
// such entry.
var ErrNotLogged = errors.New("not in the log")

// LogLookup asks a transparency log for the entry of a signature that carries
// none. What it answers is believed no more than an entry inside a signature
// is: the same checks follow.
type LogLookup interface {
	// Find returns the entry with exactly this body as an encoded
	// dev.sigstore.rekor.v1.TransparencyLogEntry with an inclusion proof. An
	// error that wraps [ErrNotLogged] is the log's own no; any other means that
	// it could not be told.
	Find(ctx context.Context, body []byte) (entry []byte, err error)
}

// NotLogged tells whether an answer of Verify is that a signature has no entry in
// the log. Where a log is asked, that no is not final: the entry may be made later.
func NotLogged(err error) bool { return codeOf(err) == codeNotLogged }

// maxLookedUp bounds what a log may answer; an entry has about five kilobytes.
const maxLookedUp = 128 << 10

// lookUp asks for the entry of a signature.
func lookUp(ctx context.Context, lookup LogLookup, sig cmsSignature) ([]byte, error) {
	entry, err := lookup.Find(ctx, sig.hashedRekord())
	switch {
	case errors.Is(err, ErrNotLogged):
		return nil, refuse(codeNotLogged, "the signature carries no log entry, and the log has none")
	case err != nil:
		return nil, fmt.Errorf("asking the log for the entry of a signature: %w", err)
	case len(entry) == 0 || len(entry) > maxLookedUp:
		return nil, fmt.Errorf("asking the log for the entry of a signature: the answer has %d bytes", len(entry))
	}
	return entry, nil
}
