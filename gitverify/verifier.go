package gitverify

import (
	"context"
	"fmt"
	"strings"
	"sync"
)

// Options bound and place what is verified; zero fields have the defaults.
type Options struct {
	// PolicyPath is where the trust policy lies in every tree;
	// [DefaultPolicyPath] if empty.
	PolicyPath string
	// MaxCommits bounds the commits that one call looks at; 100 000 if zero.
	MaxCommits int
}

// maxCommit bounds one commit object (row A25).
const maxCommit = 1 << 20

// Verifier verifies ranges of history. It keeps what it has accepted in
// memory, so that a later call verifies new commits only; what it answers does
// not depend on that. It may be used by many goroutines at once.
type Verifier struct {
	signatures *signatureVerifier
	options    Options

	mu sync.Mutex
	// frontiers are keyed by anchor; trusted root and policy path are the
	// verifier's own, and the policy in force follows from the commits.
	frontiers map[ID]*frontier
}

// New makes a Verifier for a trusted root.
func New(root TrustedRoot, options Options) (*Verifier, error) {
	if root.material == nil {
		return nil, fmt.Errorf("%w: none was given", ErrTrustedRoot)
	}
	if options.PolicyPath == "" {
		options.PolicyPath = DefaultPolicyPath
	}
	if options.MaxCommits == 0 {
		options.MaxCommits = 100_000
	}
	signatures, err := newSignatureVerifier(root)
	if err != nil {
		return nil, err
	}
	return &Verifier{signatures: signatures, options: options, frontiers: map[ID]*frontier{}}, nil
}

// Verify judges the candidate. A nil error is a yes, a [*Refusal] (errors.As)
// a no, and any other error means that it could not be told.
func (v *Verifier) Verify(ctx context.Context, objects Objects, req Request) (Verification, error) {
	if err := req.check(); err != nil {
		return Verification{}, fmt.Errorf("verifying: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	w := &walk{
		reader: objectReader{objects: objects, trees: &treeCache{}}, signatures: v.signatures, options: v.options,
		request: req, looked: map[ID]struct{}{},
	}
	f, err := w.runIsolated(ctx, v.frontiers[req.Anchor])
	if f != nil {
		v.frontiers[req.Anchor] = f
	}
	if err != nil {
		return Verification{}, err
	}
	return f.verification(req), nil
}

// runIsolated turns a panic, in whatever reads the objects too, into an
// inability to tell: nothing is accepted, and the process lives on (row B33).
// The frontier changes only once a unit is complete, so it stays sound.
func (w *walk) runIsolated(ctx context.Context, known *frontier) (f *frontier, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			f, err = known, fmt.Errorf("verifying %s: the verifier failed: %s", w.request.Candidate, printable(fmt.Sprint(cause)))
		}
	}()
	return w.run(ctx, known)
}

// check finds requests that no history could answer; they are faults of the
// caller, not of a commit.
func (r Request) check() error {
	switch {
	case !strings.HasPrefix(r.Ref, "refs/"):
		return fmt.Errorf("%q is not the full name of a ref", printable(r.Ref))
	case !r.Candidate.valid():
		return fmt.Errorf("candidate %q is not a full commit id", printable(string(r.Candidate)))
	case !r.Anchor.valid():
		return fmt.Errorf("anchor %q is not a full commit id", printable(string(r.Anchor)))
	case r.Floor != "" && !r.Floor.valid():
		return fmt.Errorf("last applied revision %q is not a full commit id", printable(string(r.Floor)))
	}
	return nil
}
