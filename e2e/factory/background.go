package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"millwright.dev/millwright/e2e/node"
)

// Files of the factory's folder by which its commands find each other.
const (
	lockFile     = "lock"     // held by the one in the background; its content is that one's id
	progressFile = "progress" // what it tells, a line at a time
	readyFile    = "ready"    // there when everything is
)

var errRunning = errors.New("a factory is running there: make factory-down ends it")

// up starts the factory in the background and repeats what it tells until it is
// ready or has ended.
func up(ctx context.Context, o options) error {
	if err := node.Preflight(ctx, o.dir); err != nil {
		return err
	}
	if _, running := holder(o); running {
		return errRunning
	}
	if _, err := os.Stat(o.path(progressFile)); err == nil {
		return fmt.Errorf("%s has the data of an earlier factory: make factory-down removes it", o.dir)
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	child, ended, err := background(o)
	if err != nil {
		return err
	}
	if err := follow(ctx, o, ended, os.Stdout); err != nil {
		_ = syscall.Kill(child, syscall.SIGTERM)
		for range ended { // until it is gone
		}
		return err
	}
	return nil
}

// background starts this program again as the one that stays.
func background(o options) (pid int, ended <-chan error, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, nil, err
	}
	// What go run has built is removed when go run ends; the one that stays, and
	// the node, are started from a copy.
	program := o.path("factory")
	if err := duplicate(self, program); err != nil {
		return 0, nil, err
	}
	out, err := os.OpenFile(o.path(progressFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, nil, err
	}
	defer out.Close()
	cmd := exec.Command(program, "serve", "-root", o.root, "-dir", o.dir)
	// What servers in it write to standard error is no progress.
	problems, err := os.OpenFile(o.path("factory.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, nil, err
	}
	defer problems.Close()
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, problems, o.root
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait(); close(done) }()
	return cmd.Process.Pid, done, nil
}

func duplicate(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// follow copies the progress to w until the factory is ready.
func follow(ctx context.Context, o options, ended <-chan error, w io.Writer) error {
	f, err := os.Open(o.path(progressFile))
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewReader(f)
	for {
		// Asked before reading: what was told before the answer is then shown.
		_, notReady := os.Stat(o.path(readyFile))
		var failed error
		over := false
		select {
		case failed = <-ended:
			over = true
		case <-ctx.Done():
			return errors.New("interrupted; everything is being ended")
		default:
		}
		if _, err := io.Copy(w, lines); err != nil {
			return err
		}
		switch {
		case over:
			return fmt.Errorf("the factory did not come up (%w); its logs are in %s, and make factory-down removes it", orEnded(failed), o.dir)
		case notReady == nil:
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// restart has the one in the background end its node and start it again, and
// waits until all of it is ready.
func restart(ctx context.Context, o options) error {
	pid, running := holder(o)
	if !running {
		return errors.New("no factory is running there: make factory starts one")
	}
	if err := os.Remove(o.path(readyFile)); err != nil {
		return fmt.Errorf("the factory is not ready: %w", err)
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("asking process %d: %w", pid, err)
	}
	for {
		if _, err := os.Stat(o.path(readyFile)); err == nil {
			return nil
		}
		if _, running := holder(o); !running {
			return fmt.Errorf("the factory has ended; see %s", o.path(progressFile))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("it ended")
	}
	return err
}

// hold takes the lock for as long as this process lives.
func hold(o options) error {
	// A bare descriptor: a File would close itself when nobody refers to it.
	fd, err := syscall.Open(o.path(lockFile), syscall.O_CREAT|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errRunning
	}
	_, err = syscall.Write(fd, []byte(strconv.Itoa(os.Getpid())))
	return err
}

// holder is the process that holds the lock, if one does.
func holder(o options) (pid int, running bool) {
	f, err := os.OpenFile(o.path(lockFile), os.O_RDWR, 0)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
		return 0, false
	}
	data, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0, false
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(data)))
	return pid, err == nil
}

// down ends the factory, waits until it has ended, and removes its data.
func down(ctx context.Context, o options) error {
	if pid, running := holder(o); running {
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			return fmt.Errorf("ending process %d: %w", pid, err)
		}
		if err := ended(ctx, o); err != nil {
			return err
		}
	}
	// One that was killed has removed nothing.
	if err := node.Clean(o.path("node")); err != nil {
		return err
	}
	if o.keep {
		return nil
	}
	if _, err := os.Stat(o.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(o.path(lockFile)); err != nil {
		return fmt.Errorf("%s holds no factory: it is left alone", o.dir)
	}
	return os.RemoveAll(o.dir)
}

func ended(ctx context.Context, o options) error {
	deadline := time.After(time.Minute)
	for {
		if _, running := holder(o); !running {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline:
			return errors.New("the factory has not ended within a minute; see " + o.path(progressFile))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// enter replaces this process by a command inside the node's namespaces.
func enter(o options, args []string) error {
	if len(args) == 0 {
		return errors.New("exec needs a command")
	}
	pid, running, err := node.Running(o.path("node"))
	if err != nil {
		return err
	}
	if !running || pid == 0 {
		return errors.New("no node is running there: make factory starts one")
	}
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return errors.New("no nsenter: install the package util-linux")
	}
	return syscall.Exec(nsenter, append([]string{"nsenter", "--target", strconv.Itoa(pid), "--mount", "--net", "--pid", "--ipc", "--uts", "--"}, args...), os.Environ())
}
