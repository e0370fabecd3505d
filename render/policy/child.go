package policy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
)

// child is a policy process that was started. It is asked once.
type child struct {
	runner         Runner
	process        *os.Process
	in             *os.File
	stdout, stderr *bounded
	// told is closed when the process has been told the first part of a request.
	told chan struct{}
	// limited is why its memory could not be bounded. ended is closed when it has
	// ended; waited is what that gave.
	limited error
	ended   chan struct{}
	waited  error
}

// start brings a process to life.
func (r Runner) start(isolation string) (*child, error) {
	if !filepath.IsAbs(r.Path) {
		return nil, fmt.Errorf("the path %q of the policy process is not absolute", r.Path)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start policy process: %w", err)
	}
	c := &child{runner: r, in: write, stdout: &bounded{limit: MaxVerdict}, stderr: &bounded{limit: maxStderr}, told: make(chan struct{}), ended: make(chan struct{})}
	cmd := exec.Command(r.Path, "-memory-limit", strconv.FormatInt(r.MemoryLimit, 10)) //nolint:noctx // it is ended by ask and by end
	// The caller's environment holds credentials and proxies; "/" is a
	// directory that the process cannot take anything from.
	cmd.Env, cmd.Dir = []string{}, "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = read, c.stdout, c.stderr
	cmd.WaitDelay = time.Second
	confine(cmd, isolation)
	started := make(chan error, 1)
	go c.keep(cmd, started)
	err = <-started
	_ = read.Close()
	if err != nil {
		_ = write.Close()
		return nil, fmt.Errorf("start policy process: %w", err)
	}
	return c, nil
}

// keep stays with a process until it has ended. The kernel sends the parent death
// signal when the thread that forked ends, not the process: the thread must stay
// ours until the child is gone.
func (c *child) keep(cmd *exec.Cmd, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		started <- err
		return
	}
	c.process = cmd.Process
	c.limited = limitMemory(cmd.Process, c.runner.MemoryLimit)
	started <- nil
	c.waited = cmd.Wait()
	close(c.ended)
}

// tell writes the first part of a request. A process that does not read is ended
// at the deadline, and one that has ended says by that what is wrong.
func (c *child) tell(first []byte) {
	_, _ = c.in.Write(first)
	close(c.told)
}

// ask tells the process the rest, and returns what it answers within the time that
// a test may take.
func (c *child) ask(ctx context.Context, rest []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.runner.Timeout)
	defer cancel()
	go func() {
		<-c.told
		_, _ = c.in.Write(rest)
		_ = c.in.Close()
	}()
	select {
	case <-c.ended:
	case <-ctx.Done():
		c.end()
	}
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("policy process was ended after at most %s: %w", c.runner.Timeout, ctx.Err())
	case c.stdout.over:
		return nil, fmt.Errorf("policy process answered more than %d bytes", MaxVerdict)
	case c.waited != nil:
		// Go programs that run out of memory do not always manage to say so.
		return nil, fmt.Errorf("policy process (memory limit %d MiB): %w: %s", c.runner.MemoryLimit>>20, c.waited, Printable(c.stderr.buf.String()))
	case c.limited != nil:
		return nil, fmt.Errorf("limit memory of policy process: %w", c.limited)
	}
	return c.stdout.buf.Bytes(), nil
}

// end ends the process and all that it started, and waits until it is gone.
func (c *child) end() {
	defer c.in.Close()
	select {
	case <-c.ended:
		return // its number may be another's by now
	default:
	}
	if err := killGroup(c.process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = c.process.Kill()
	}
	<-c.ended
}
