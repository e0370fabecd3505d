package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden transcript")

const golden = "testdata/transcript.golden"

// TestMain lets the test binary be the demonstration itself, so that a test can
// look at it from outside: its exit code, and what it leaves behind.
func TestMain(m *testing.M) {
	if os.Getenv("MILLWRIGHT_DEMO_CHILD") == "1" {
		main()
		return
	}
	os.Exit(m.Run())
}

// demonstration is a run of the demonstration with a temporary folder of its
// own.
type demonstration struct {
	*exec.Cmd
	tmp string
	out strings.Builder
}

// start needs half a minute of the whole machine for each test, which a package
// test has no right to: make test-demo asks for it.
func start(t *testing.T, args ...string) *demonstration {
	t.Helper()
	if os.Getenv("MILLWRIGHT_TEST_DEMO") == "" {
		t.Skip("whole demonstrations are run by make test-demo")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 25*time.Minute)
	t.Cleanup(cancel)
	d := &demonstration{tmp: t.TempDir()}
	d.Cmd = exec.CommandContext(ctx, os.Args[0], append([]string{"-root", "../.."}, args...)...)
	d.Env = append(os.Environ(), "MILLWRIGHT_DEMO_CHILD=1", "TMPDIR="+d.tmp)
	d.Stdout, d.Stderr = &d.out, &d.out
	d.WaitDelay = 30 * time.Second
	d.Cancel = func() error { return d.Process.Signal(syscall.SIGTERM) }
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

// endsWith waits for the end and compares the exit code.
func (d *demonstration) endsWith(t *testing.T, code int) string {
	t.Helper()
	err := d.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := d.ProcessState.ExitCode(); got != code {
		t.Fatalf("exit code %d, want %d\n%s", got, code, d.out.String())
	}
	if left := processesIn(t, d.tmp); len(left) > 0 {
		t.Errorf("these were left running: %v", left)
	}
	return d.out.String()
}

func TestTheDemonstrationTellsWhatItsTranscriptSays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "transcript")
	start(t, "-transcript", file).endsWith(t, 0)
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(golden, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("the demonstration tells something else (-want +got):\n%s", diff)
	}
}

func TestTheDemonstrationFailsWhenADefenceIsTakenAway(t *testing.T) {
	for sabotage, claim := range map[string]string{
		sabotageVerify: "is refused: UntrustedIdentity",
		sabotageDrift:  "only the factory owns the field",
		sabotagePolicy: "is refused: PolicyViolation",
	} {
		t.Run(sabotage, func(t *testing.T) {
			out := start(t, "-sabotage", sabotage).endsWith(t, 1)
			_, untrue, found := strings.Cut(out, "NOT TRUE: ")
			line, _, _ := strings.Cut(untrue, "\n")
			if !found || !strings.HasSuffix(line, claim) {
				t.Errorf("not this claim failed: %q\n%s", claim, out)
			}
		})
	}
}

func TestAnInterruptEndsEverythingThatWasStarted(t *testing.T) {
	for moment, running := range map[string]string{
		"while it builds":       "/link -o ",
		"while all servers run": " --poke-addr ",
	} {
		t.Run(moment, func(t *testing.T) {
			d := start(t)
			deadline := time.Now().Add(20 * time.Minute)
			for !strings.Contains(strings.Join(processesIn(t, d.tmp), "\n"), running) {
				if time.Now().After(deadline) {
					t.Fatal("it was never so far")
				}
				time.Sleep(20 * time.Millisecond)
			}
			if err := d.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			if out := d.endsWith(t, 1); !strings.Contains(out, "interrupted") {
				t.Error(out)
			}
			left, err := filepath.Glob(filepath.Join(d.tmp, "millwright-demo-*"))
			if err != nil || len(left) > 0 {
				t.Errorf("these were left behind: %v %v", left, err)
			}
		})
	}
}

// processesIn are the programs that run with something in the folder as an
// argument or as their working directory.
func processesIn(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range entries {
		line, _ := os.ReadFile(filepath.Join(p, "cmdline")) // gone meanwhile, or not ours to read
		cwd, _ := os.Readlink(filepath.Join(p, "cwd"))
		if strings.Contains(string(line), dir) || strings.HasPrefix(cwd, dir) {
			out = append(out, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return out
}

func TestWhatVariesIsReplacedInATranscript(t *testing.T) {
	t.Parallel()
	const told = `  ok  commit 1a2b3c4d5e6f is applied, 10.0 s after the push
      refused   Unsigned commit 1a2b3c4d5e6f1a2b3c4d5e6f1a2b3c4d5e6f1a2b
    factory   True    main@sha1:1a2b3c4d5e6f           12s
    http://127.0.0.1:20001/x at 19:53:45Z, 2026-11-22T20:03:48Z   log 12
    cluster 731a57ae-a0dd-4b00-bbc6-8e79beb4283a, 179 objects
`
	const want = `  ok  commit SHORT is applied, SECONDS after the push
  refused  Unsigned commit COMMIT
  factory  True  main@sha1:SHORT  SECONDS
  http://127.0.0.1:PORT/x at TIME, TIME  log N
  cluster UID, 179 objects
`
	if diff := cmp.Diff(want, normalise(told)); diff != "" {
		t.Error(diff)
	}
}

func TestACommandIsShownAsItCanBeTyped(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := newScreen(&out, "/tmp/x")
	s.command("alice", []string{"git", "commit", "-m", "two words", "--json", `{"a":1}`})
	s.command("", append([]string{"millwright"}, strings.Fields(strings.Repeat("argument ", 15))...))
	want := `alice$ git commit -m 'two words' --json '{"a":1}'
$ millwright argument argument argument argument argument argument argument argument argument argument \
    argument argument argument argument argument
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
