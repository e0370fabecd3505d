package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Defaults of a [Runner], for the zero value of each field.
const (
	DefaultTimeout     = 30 * time.Second
	DefaultMemoryLimit = 1 << 30

	// maxStderr bounds what is kept of the process's complaint.
	maxStderr = 16 << 10
)

// Isolation of the policy process.
const (
	// IsolationNetns is a user, process and network namespace of its own: no
	// interface but a loopback that is down, and no process survives the first.
	IsolationNetns = "netns"
	// IsolationProcess is an ordinary child without environment; the engine is
	// still given nothing that could ask a server.
	IsolationProcess = "process"
)

// ErrCouldNotTell is wrapped by every error of [Runner.Test].
var ErrCouldNotTell = errors.New("could not test the policies")

// Runner tests manifests in a policy process, one process for each test.
type Runner struct {
	// Path is the millwright-policy program, absolute.
	Path string
	// Timeout is the deadline of a test, [DefaultTimeout] when zero.
	Timeout time.Duration
	// MemoryLimit bounds the process's memory in bytes, [DefaultMemoryLimit]
	// when zero.
	MemoryLimit int64
	// User is who the objects are created by in the eyes of a policy,
	// [DefaultUser] when empty.
	User string
}

// Test asks whether the factory's policies among the objects allow the objects.
// The objects are complete manifests in JSON. An error means "could not tell"
// and is worth another try; a no is in the verdict ([Verdict.Refusal]).
func (r Runner) Test(ctx context.Context, objects []json.RawMessage) (Verdict, error) {
	v, err := r.test(ctx, objects)
	v.Matches = nil
	return v, err
}

// test starts the process first: it needs as long as it takes to make the question.
func (r Runner) test(ctx context.Context, objects []json.RawMessage) (Verdict, error) {
	r = r.withDefaults()
	var q question
	in := sync.OnceValues(func() ([]byte, error) {
		var err error
		if q, err = r.question(objects); err != nil {
			return nil, err
		}
		return small(q.request.document())
	})
	out, isolation, err := r.run(ctx, in)
	if err != nil {
		return Verdict{}, couldNotTell(err)
	}
	return q.verdict(out, isolation)
}

func (r Runner) question(objects []json.RawMessage) (question, error) {
	q, err := ask(r.User, objects)
	if err != nil {
		return question{}, fmt.Errorf("%w: %w", ErrCouldNotTell, err)
	}
	return q, nil
}

func small(in []byte) ([]byte, error) {
	if len(in) > MaxRequest {
		return nil, fmt.Errorf("%w: the manifests are %d bytes, the limit is %d", ErrCouldNotTell, len(in), MaxRequest)
	}
	return in, nil
}

func couldNotTell(err error) error {
	if errors.Is(err, ErrCouldNotTell) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrCouldNotTell, err)
}

// verdict takes an answer for what it is: one to this question, or none.
func (q question) verdict(out []byte, isolation string) (Verdict, error) {
	v, err := DecodeVerdict(bytes.NewReader(out))
	if err != nil {
		return Verdict{}, fmt.Errorf("%w: %w", ErrCouldNotTell, err)
	}
	if err := q.answeredBy(v); err != nil {
		return Verdict{}, fmt.Errorf("%w: %w", ErrCouldNotTell, err)
	}
	if v.Isolation != "" {
		isolation += "+" + v.Isolation
	}
	v.Isolation = isolation
	v.Policies = append(v.Policies, q.untested...)
	return v, nil
}

func (r Runner) withDefaults() Runner {
	if r.Timeout <= 0 {
		r.Timeout = DefaultTimeout
	}
	if r.MemoryLimit <= 0 {
		r.MemoryLimit = DefaultMemoryLimit
	}
	if r.User == "" {
		r.User = DefaultUser
	}
	return r
}

// answeredBy holds the answer against the question: every object was looked at
// and every policy, by digest, has its result. A process that dropped a policy
// would otherwise pass for one that found nothing.
func (q question) answeredBy(v Verdict) error {
	if v.Objects != len(q.request.Objects) {
		return fmt.Errorf("the verdict is on %d objects, asked were %d", v.Objects, len(q.request.Objects))
	}
	if len(v.Policies) != len(q.expected) {
		return fmt.Errorf("the verdict is on %d policies, asked were %d", len(v.Policies), len(q.expected))
	}
	if len(v.Matches) != len(v.Policies) {
		return fmt.Errorf("the verdict says of %d policies what they matched, asked were %d", len(v.Matches), len(v.Policies))
	}
	failed := 0
	for i, want := range q.expected {
		got := v.Policies[i]
		if got.Name != want.Name || got.Kind != want.Kind || got.Digest != want.Digest {
			return fmt.Errorf("result %d of the verdict is not on policy %s (%s)", i, want.Name, want.Digest)
		}
		if outside := func(at int) bool { return at < 0 || at >= v.Objects }; got.Matched != len(v.Matches[i]) || slices.ContainsFunc(v.Matches[i], outside) {
			return fmt.Errorf("the verdict counts what policy %s matched, and names something else", want.Name)
		}
		failed += got.Failed
	}
	if failed > 0 && len(v.Violations)+len(v.Warnings) == 0 {
		return errors.New("the verdict counts failures and names none")
	}
	return nil
}

// run starts the process, in a network namespace if the kernel allows it, and
// returns what it answered.
func (r Runner) run(ctx context.Context, in func() ([]byte, error)) ([]byte, string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	if isolates {
		out, started, err := r.attempt(ctx, in, IsolationNetns)
		if started || !namespaceDenied(err) {
			return out, IsolationNetns, err
		}
	}
	out, _, err := r.attempt(ctx, in, IsolationProcess)
	return out, IsolationProcess, err
}

// attempt runs the process once; started says whether it came to life.
func (r Runner) attempt(ctx context.Context, in func() ([]byte, error), isolation string) (out []byte, started bool, err error) {
	c, err := r.start(isolation)
	if err != nil {
		return nil, false, err
	}
	defer c.end() // also where the question cannot be made, or making it panics
	close(c.told)
	question, err := in()
	if err != nil {
		return nil, true, err
	}
	out, err = c.ask(ctx, question)
	return out, true, err
}

// bounded keeps the first bytes of a stream and drops the rest, so that the
// process is never blocked by us and we are never filled by it.
type bounded struct {
	buf   bytes.Buffer
	limit int
	over  bool
}

// Write never fails.
func (b *bounded) Write(p []byte) (int, error) {
	room := b.limit - b.buf.Len()
	if len(p) > room {
		b.over = true
		b.buf.Write(p[:room])
		return len(p), nil
	}
	return b.buf.Write(p)
}
