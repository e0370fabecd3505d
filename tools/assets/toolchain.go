package assets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// toolchain is the go command that builds, and where it keeps what it compiled
// and the modules that it downloaded.
type toolchain struct{ path, version, compiled, modules string }

// findToolchain takes the go command of the PATH, as a user would.
func findToolchain(ctx context.Context, root string) (toolchain, error) {
	path, err := exec.LookPath("go")
	if err != nil {
		return toolchain{}, fmt.Errorf("the go command is needed to build programs: %w", err)
	}
	cmd := exec.CommandContext(ctx, path, "env", "GOVERSION", "GOCACHE", "GOMODCACHE")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return toolchain{}, fmt.Errorf("asking %s for its version: %w", path, err)
	}
	told := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(told) != 3 {
		return toolchain{}, fmt.Errorf("%s env answers %d lines, not 3", path, len(told))
	}
	return toolchain{path: path, version: told[0], compiled: told[1], modules: told[2]}, nil
}

// static makes the C linker leave no library to be found at run time: a program
// with C in it runs in an image that has nothing else, as the others do.
const static = `-linkmode external -extldflags "-static"`

// flags are the arguments of go build that change what comes out.
func (a asset) flags() []string {
	// Nobody debugs these. Without DWARF a build takes an eighth less and leaves a
	// fifth less behind; what the linker leaves out is compiled otherwise.
	flags := []string{"-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false", "-mod=readonly"}
	ldflags, tags := "-s -w "+a.ldflags, a.tags
	if a.cgo {
		ldflags += " " + static
		// The resolver and the user database of a static C library load shared
		// ones at run time; Go has its own of both.
		tags = strings.Trim(tags+",netgo,osusergo", ",")
	}
	if tags != "" {
		flags = append(flags, "-tags", tags)
	}
	return append(flags, "-ldflags", strings.TrimSpace(ldflags), a.pkg)
}

// env is what the environment says to go build, beside what it says already.
func (a asset) env() []string {
	env := []string{"CGO_ENABLED=0", "GOWORK=off", "GOOS=", "GOARCH="}
	if a.cgo {
		env[0] = "CGO_ENABLED=1"
	}
	return env
}

// compile runs go build in the module's folder, with the caches that the
// environment is told of. When the context ends, the
// compilers that go started end with it.
func (t toolchain) compile(ctx context.Context, dir, out string, a asset, caches []string) error {
	cmd := exec.CommandContext(ctx, t.path, append([]string{"build", "-o", out}, a.flags()...)...)
	cmd.Dir = dir
	cmd.Env = slices.Concat(os.Environ(), a.env(), caches, []string{"PWD=" + dir})
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return fmt.Errorf("go build in %s: %w\n%s", dir, err, lastLines(output.String(), 20))
	}
}

// lastLines keeps the end of the output, without the lines of the downloads.
func lastLines(output string, n int) string {
	var lines []string
	for line := range strings.Lines(output) {
		if !strings.HasPrefix(line, "go: downloading ") {
			lines = append(lines, "  "+strings.TrimRight(line, "\n"))
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// lock takes the lock of that name. It is the kernel's (flock(2)), so that it
// goes when its holder does, however that ends.
func (b builder) lock(ctx context.Context, name string) (unlock func(), err error) {
	if err := os.MkdirAll(b.cache, 0o750); err != nil {
		return nil, fmt.Errorf("making the cache folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(b.cache, name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock: %w", err)
	}
	for told := false; ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
		}
		if !told {
			fmt.Fprintf(b.progress, "waiting for another build in %s\n", name)
			told = true
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
