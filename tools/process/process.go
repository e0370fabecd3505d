// Package process runs the servers of tests and of the demonstration as child
// processes, and sees to it that none outlives us.
//
// A child is ended by its own id, never by a name: first politely (SIGTERM),
// then, when its time is up, not (SIGKILL). Should we die first, by whatever
// means, the kernel kills it (PR_SET_PDEATHSIG). What it writes goes to a log
// file, whose end is part of the error when it stops before it was asked to.
//
// It gives out ports of 127.0.0.1 only, and connects to nothing else.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Spec says what to run.
type Spec struct {
	// Name is what errors call it.
	Name string
	// Path and Args are the program and its arguments, without argv[0].
	Path string
	Args []string
	// Env is the whole environment; nothing is inherited, so that no setting
	// of the machine changes a test.
	Env []string
	// Dir is where it runs.
	Dir string
	// Log is the file to which its output is appended.
	Log string
	// Namespaces are those that the child gets of its own (CLONE_NEW* of clone(2)).
	Namespaces uintptr
	// Files are open in the child too, as descriptors 3 and up. A lock on one is
	// held until both have let go of it.
	Files []*os.File
}

// Process is a running child.
type Process struct {
	name, log string
	pid       int
	done      chan struct{}
	err       error // valid once done is closed
}

// Start runs the program.
func Start(spec Spec) (*Process, error) {
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of %s: %w", spec.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(spec.Path, spec.Args...)
	cmd.Dir, cmd.Env = spec.Dir, spec.Env
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = log, log, spec.Files
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	// A group of its own, so that Ctrl-C in a terminal reaches us alone and we
	// can end the children in their order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: spec.Namespaces}
	p := &Process{name: spec.Name, log: spec.Log, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The signal is sent when the *thread* that started the child ends, not
		// the process (golang.org/issue/27505): so this thread waits with it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", spec.Name, err)
	}
	return p, nil
}

// PID is the child's id.
func (p *Process) PID() int { return p.pid }

// Done is closed when the child has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the child ended: nil while it runs, and after a clean exit.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Signal sends a signal, for tests that stop a server and let it go on.
func (p *Process) Signal(sig syscall.Signal) error {
	select {
	case <-p.done:
		return fmt.Errorf("%s has ended", p.name)
	default:
		return syscall.Kill(p.pid, sig)
	}
}

// Stop ends the child: politely, and after the grace period not. It returns
// when the child is gone. Stopping twice, or nil, does nothing.
func (p *Process) Stop(grace time.Duration) {
	if p == nil {
		return
	}
	_ = p.Signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return
	case <-timer.C:
	}
	p.Kill()
}

// Kill ends the child at once and returns when it is gone.
func (p *Process) Kill() {
	if p == nil {
		return
	}
	_ = p.Signal(syscall.SIGKILL)
	<-p.done
}

// Wait asks until ready says nil. It ends early when the child ends, with the
// last lines of its log.
func (p *Process) Wait(ctx context.Context, ready func(context.Context) error) error {
	var last error
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := ready(attempt)
		cancel()
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended early (%w); its last words:\n%s", p.name, exitError(p.err), p.LastLines(40))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready in time: %w; its last words:\n%s", p.name, last, p.LastLines(40))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func exitError(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// LastLines is the end of the log.
func (p *Process) LastLines(n int) string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	const tail = 64 << 10
	if info, err := f.Stat(); err == nil && info.Size() > tail {
		_, _ = f.Seek(-tail, 2)
	}
	b := make([]byte, tail)
	read, _ := f.Read(b)
	lines := strings.Split(strings.TrimRight(string(b[:read]), "\n"), "\n")
	return "  " + strings.Join(lines[max(0, len(lines)-n):], "\n  ")
}
