package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The variables by which a test binary is told which mutant it is, and where it
// notes the mutants that it comes past.
const (
	variable = "MILLWRIGHT_MUTANT"
	hits     = "MILLWRIGHT_MUTANT_HITS"
)

// switches is what is added to a package.
const switches = `package %s

import (
	"fmt"
	"os"
	"strconv"
	"sync"
)

var zzMutant, zzFile, zzSeen = func() (int, *os.File, *sync.Map) {
	n, _ := strconv.Atoi(os.Getenv(%q))
	var f *os.File
	if path := os.Getenv(%q); path != "" {
		f, _ = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	}
	return n, f, new(sync.Map)
}()

func zzOn(n int) bool {
	if zzFile != nil {
		if _, seen := zzSeen.LoadOrStore(n, true); !seen {
			fmt.Fprintln(zzFile, n)
		}
	}
	return zzMutant != n
}

func zzDrop[T any](n int, v T) T {
	if !zzOn(n) {
		var none T
		return none
	}
	return v
}
`

// build compiles the tests with all mutants in them.
func (p *mutated) build(ctx context.Context, work string) error {
	if err := os.MkdirAll(work, 0o700); err != nil {
		return err
	}
	replace := map[string]string{}
	put := func(path string, content []byte) error {
		original, err := filepath.Abs(path)
		if err != nil {
			return err
		}
		replace[original] = filepath.Join(work, filepath.Base(path))
		return os.WriteFile(replace[original], content, 0o600)
	}
	for path, content := range p.files {
		if err := put(path, content); err != nil {
			return err
		}
	}
	if err := put(filepath.Join(p.dir, "zz_mutant.go"), fmt.Appendf(nil, switches, p.name, variable, hits)); err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	path := filepath.Join(work, "overlay.json")
	if err := os.WriteFile(path, overlay, 0o600); err != nil {
		return err
	}
	p.binary = filepath.Join(work, "mutants.test")
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", path, "-o", p.binary, "./"+filepath.ToSlash(filepath.Clean(p.dir)))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compiling the mutants: %w\n%s", err, out)
	}
	return nil
}

// keep drops the mutants that an earlier run did not name as survivors.
func (p *mutated) keep(log string) error {
	if log == "" {
		return nil
	}
	before, err := os.ReadFile(log)
	if err != nil {
		return err
	}
	named := map[string]bool{}
	for line := range strings.Lines(string(before)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "survives: "); ok {
			named[name] = true
		}
	}
	p.mutants = slices.DeleteFunc(p.mutants, func(m mutant) bool { return !named[m.name] })
	return nil
}

// test runs some tests as a mutant, 0 for none, and tells whether they pass.
func (p *mutated) test(ctx context.Context, c config, id int, tests []covering, note string) (passed bool, output []byte, err error) {
	names := make([]string, len(tests))
	for i, t := range tests {
		names[i] = t.name
	}
	args := []string{"-test.failfast", "-test.timeout", c.timeout.String(), "-test.run", "^(" + strings.Join(names, "|") + ")$"}
	if !c.full {
		args = append(args, "-test.short")
	}
	return p.run(ctx, id, note, args...)
}

func (p *mutated) run(ctx context.Context, id int, note string, args ...string) (passed bool, output []byte, err error) {
	// A loop that does not end any more must not take all of the memory.
	const limited = `ulimit -v 8388608; exec "$0" "$@"`
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", limited, p.binary}, args...)...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), variable+"="+strconv.Itoa(id), hits+"="+note)
	output, err = cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return false, output, ctx.Err()
	}
	return err == nil, output, err
}

// hunt finds the mutants that no test misses.
func (p *mutated) hunt(ctx context.Context, c config, log io.Writer) (survivors []mutant, err error) {
	reached, err := p.baseline(ctx, c, log)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	quick := favourites{}
	work, group := make(chan mutant), sync.WaitGroup{}
	for range c.workers {
		group.Go(func() {
			for m := range work {
				mu.Lock()
				some := quick.batches(m, reached[m.id])
				mu.Unlock()
				missedBy, failed := p.missed(ctx, c, m, some)
				mu.Lock()
				switch {
				case failed != nil:
					err = failed
				case missedBy != "":
					quick.add(m, missedBy)
					fmt.Fprintf(log, "missed: %s by %s\n", m.name, missedBy)
				default:
					m.tests = len(reached[m.id])
					survivors = append(survivors, m)
					fmt.Fprintf(log, "survives: %s\n", m.name)
				}
				mu.Unlock()
			}
		})
	}
	for _, m := range p.mutants {
		if ctx.Err() == nil {
			work <- m
		}
	}
	close(work)
	group.Wait()
	return survivors, err
}

// missed runs tests that come past a mutant, and names the first that fails.
func (p *mutated) missed(ctx context.Context, c config, m mutant, tests [][]covering) (string, error) {
	for _, some := range tests {
		passed, output, err := p.test(ctx, c, m.id, some, "")
		if err == nil && !passed && failed(output) == outOfTime { // or the machine slept
			passed, output, err = p.test(ctx, c, m.id, some, "")
		}
		if err != nil || !passed {
			return failed(output), err
		}
	}
	return "", nil
}

const outOfTime = "the time that the tests may take"

// failed finds in a test's output which one failed.
func failed(output []byte) string {
	_, rest, found := strings.Cut(string(output), "--- FAIL: ")
	name, _, _ := strings.Cut(rest, " ")
	switch {
	case bytes.Contains(output, []byte("panic: test timed out")):
		return outOfTime
	case !found:
		return "a panic"
	}
	return name
}
