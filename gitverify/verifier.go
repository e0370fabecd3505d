package gitverify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// Options bound and place what is verified; zero fields have the defaults.
type Options struct {
	// PolicyPath is where the trust policy lies in every tree;
	// [DefaultPolicyPath] if empty.
	PolicyPath string
	// MaxCommits bounds the commits that one call looks at, and those since the
	// anchor; 100 000 if zero.
	MaxCommits int
	// Log is asked for entries that signatures do not carry, where the policy in
	// force allows that; nil: never.
	Log LogLookup
	// FrontierFile keeps what was accepted for the next process, under FrontierKey
	// (at least 32 secret bytes). Both or none. A file that is lost, of another
	// build, or altered in any way means that everything is verified again.
	FrontierFile string
	FrontierKey  []byte
	// Build names this build of the verifier. A frontier of another one is not
	// used, since another one may have judged otherwise.
	Build string
	// Interrupt is for tests alone: it is told of the points below, and what it
	// returns is taken for what the disk says.
	Interrupt func(point string) error
}

// Points that an Interrupt is told of.
const (
	PointBeforeFrontier = "before the frontier is written"
	PointAfterFrontier  = "after the frontier was written"
)

// maxCommit bounds one commit object (row A25).
const maxCommit = 1 << 20

// Verifier verifies ranges of history. It keeps what it has accepted, so that a
// later call verifies new commits only; what it answers does not depend on
// that. It may be used by many goroutines at once.
type Verifier struct {
	options Options

	mu     sync.Mutex
	prover *signatureVerifier
	// frontiers are keyed by anchor and branch; trusted root and policy path are
	// the verifier's own, and the policy in force follows from the commits.
	frontiers map[history]*frontier
	files     map[history]*frontierFile
	seen      *checkpoints
	trees     *treeCache
	// keeps is how many bytes of commits a walk keeps.
	keeps int
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
	if (options.FrontierFile != "") != (len(options.FrontierKey) != 0) || len(options.FrontierKey) != 0 && len(options.FrontierKey) < 32 {
		return nil, errors.New("a frontier file needs a key of at least 32 bytes, and the other way round")
	}
	prover, err := newSignatureVerifier(root)
	if err != nil {
		return nil, err
	}
	return &Verifier{
		options: options, prover: prover,
		frontiers: map[history]*frontier{}, files: map[history]*frontierFile{}, seen: &checkpoints{},
		trees: &treeCache{limit: 16 << 20}, keeps: maxKept,
	}, nil
}

// Replace changes the trusted root, as when a key is rotated. What was accepted
// stays accepted where all that it rests on is in the new root too; the rest is
// proved again by the next call.
func (v *Verifier) Replace(root TrustedRoot) error {
	if root.material == nil {
		return fmt.Errorf("%w: none was given", ErrTrustedRoot)
	}
	prover, err := newSignatureVerifier(root)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.prover = prover
	for _, f := range v.frontiers {
		f.suspect(prover)
	}
	return nil
}

// suspect marks what rests on something that the trusted root does not have.
func (f *frontier) suspect(prover *signatureVerifier) {
	f.suspects = nil
	for _, r := range f.records {
		if r.Forge == "" && !prover.trusted.stands(r.proof) {
			f.suspects = append(f.suspects, r)
		}
	}
}

// reprove proves again what a change of the trusted root made doubtful. The
// first that does not hold any more takes its step with it, and all after it.
func (w *walk) reprove(ctx context.Context) error {
	for len(w.suspects) > 0 {
		r := w.suspects[0]
		c, err := w.commit(ctx, r.Commit)
		if err != nil {
			return err
		}
		a := w.prove(ctx, c, w.options.Log)
		switch _, refused := errors.AsType[*Refusal](a.err); {
		case refused:
			w.frontier = w.until(w.of(r) - 1) // the walk meets it again and says so
		case a.err != nil:
			return about(r.Commit, a.err)
		case a.proof.certified != r.proof.certified || !a.proof.at.Equal(r.proof.at) || a.proof.stamped != r.proof.stamped:
			// Another authority proves another time, or none does where the policy may
			// want one: the unit has to be judged again.
			w.frontier = w.until(w.of(r) - 1)
		default:
			r.proof = a.proof
			w.suspects = w.suspects[1:]
		}
	}
	return nil
}

// Verify judges the candidate. A nil error is a yes, a [*Refusal] (errors.As)
// a no, and any other error means that it could not be told.
func (v *Verifier) Verify(ctx context.Context, objects Objects, req Request) (Verification, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	answer, err := v.answer(ctx, objects, req)
	if err != nil {
		return Verification{}, err
	}
	return answer.verification(req), nil
}

// Explain judges the candidate and tells all of the answer, a no included. An
// error means that it could not be told.
func (v *Verifier) Explain(ctx context.Context, objects Objects, req Request) (Explanation, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	answer, err := v.answer(ctx, objects, req)
	no, refused := errors.AsType[*Refusal](err)
	if err != nil && !refused {
		return Explanation{}, err
	}
	e := Explanation{Refusal: no, Pending: answer.pending}
	f := answer.frontier
	if f == nil {
		return e, nil
	}
	if !refused {
		e.Verification = answer.verification(req)
		e.Steps, e.Accepted = e.Verification.Steps(), e.Verification.Commit()
		return e, nil
	}
	last := len(f.steps) - 1
	from := min(f.since(req.Floor), last)
	if f.checkForgeMerges(req.Floor, last) != nil {
		last = from // what comes after the floor is taken back
	}
	e.Steps, e.Accepted = f.explain(from, last), f.steps[last].commit
	return e, nil
}

// answer runs one walk and keeps what it accepted. The verifier is locked until
// the caller has read the frontier, which the next walk may change.
func (v *Verifier) answer(ctx context.Context, objects Objects, req Request) (outcome, error) {
	if err := req.check(); err != nil {
		return outcome{}, fmt.Errorf("verifying: %w", err)
	}
	w := v.newWalk(objects, req)
	of := req.history()
	out, err := w.runIsolated(ctx, v.frontiers[of])
	if f := out.frontier; f != nil {
		v.frontiers[of] = f
		v.keep(of, f)
	}
	return out, err
}

func (v *Verifier) newWalk(objects Objects, req Request) *walk {
	w := &walk{
		reader: objectReader{objects, v.trees}, prover: v.prover, options: v.options, request: req,
		looked: map[ID]struct{}{}, recent: map[ID][]byte{}, proofs: map[ID]attempt{}, policies: map[ID]decoded{}, seen: v.seen,
		load: v.load, keeps: v.keeps,
	}
	w.newUnit()
	return w
}

// runIsolated turns a panic, in whatever reads the objects too, into an
// inability to tell: nothing is accepted, and the process lives on (row B33).
// The frontier changes only once a unit is complete, so it stays sound.
func (w *walk) runIsolated(ctx context.Context, known *frontier) (out outcome, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			out, err = outcome{frontier: known}, fmt.Errorf("verifying %s: the verifier failed: %s", w.request.Candidate, printable(fmt.Sprint(cause)))
		}
	}()
	return w.resolve(ctx, known)
}

// check finds requests that no history could answer; they are faults of the
// caller, not of a commit.
func (r Request) check() error {
	switch {
	case !strings.HasPrefix(r.Ref, "refs/"):
		return fmt.Errorf("%q is not the full name of a ref", printable(r.Ref))
	case r.Mainline != "" && !strings.HasPrefix(r.Mainline, "refs/heads/"):
		return fmt.Errorf("mainline %q is not the full name of a branch", printable(r.Mainline))
	case !r.Candidate.valid():
		return fmt.Errorf("candidate %q is not a full commit id", printable(string(r.Candidate)))
	case !r.Anchor.valid():
		return fmt.Errorf("anchor %q is not a full commit id", printable(string(r.Anchor)))
	case r.Floor != "" && !r.Floor.valid():
		return fmt.Errorf("last applied revision %q is not a full commit id", printable(string(r.Floor)))
	}
	return nil
}
