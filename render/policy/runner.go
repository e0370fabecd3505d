package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
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
	r = r.withDefaults()
	if !filepath.IsAbs(r.Path) {
		return Verdict{}, fmt.Errorf("%w: the path %q of the policy process is not absolute", ErrCouldNotTell, r.Path)
	}
	q, err := ask(r.User, objects)
	if err != nil {
		return Verdict{}, fmt.Errorf("%w: %w", ErrCouldNotTell, err)
	}
	var in bytes.Buffer
	if err := Encode(&in, q.request); err != nil {
		return Verdict{}, fmt.Errorf("%w: %w", ErrCouldNotTell, err)
	}
	if in.Len() > MaxRequest {
		return Verdict{}, fmt.Errorf("%w: the manifests are %d bytes, the limit is %d", ErrCouldNotTell, in.Len(), MaxRequest)
	}
	out, isolation, err := r.run(ctx, in.Bytes())
	if err != nil {
		return Verdict{}, fmt.Errorf("%w: %w", ErrCouldNotTell, err)
	}
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
	failed := 0
	for i, want := range q.expected {
		got := v.Policies[i]
		if got.Name != want.Name || got.Kind != want.Kind || got.Digest != want.Digest {
			return fmt.Errorf("result %d of the verdict is not on policy %s (%s)", i, want.Name, want.Digest)
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
func (r Runner) run(ctx context.Context, in []byte) ([]byte, string, error) {
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
func (r Runner) attempt(ctx context.Context, in []byte, isolation string) (out []byte, started bool, err error) {
	// The kernel sends the parent death signal when the thread that forked
	// ends, not the process: the thread must stay ours until the child is gone.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	stdout, stderr := &bounded{limit: MaxVerdict}, &bounded{limit: maxStderr}
	cmd := exec.CommandContext(ctx, r.Path, "-memory-limit", strconv.FormatInt(r.MemoryLimit, 10))
	// The caller's environment holds credentials and proxies; "/" is a
	// directory that the process cannot take anything from.
	cmd.Env, cmd.Dir = []string{}, "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), stdout, stderr
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	cmd.WaitDelay = time.Second
	confine(cmd, isolation)

	if err := cmd.Start(); err != nil {
		return nil, false, fmt.Errorf("start policy process: %w", err)
	}
	limitErr := limitMemory(cmd.Process, r.MemoryLimit)
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return nil, true, fmt.Errorf("policy process was ended after at most %s: %w", r.Timeout, ctx.Err())
	case stdout.over:
		return nil, true, fmt.Errorf("policy process answered more than %d bytes", MaxVerdict)
	case err != nil:
		// Go programs that run out of memory do not always manage to say so.
		return nil, true, fmt.Errorf("policy process (memory limit %d MiB): %w: %s", r.MemoryLimit>>20, err, Printable(stderr.buf.String()))
	case limitErr != nil:
		return nil, true, fmt.Errorf("limit memory of policy process: %w", limitErr)
	}
	return stdout.buf.Bytes(), true, nil
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
