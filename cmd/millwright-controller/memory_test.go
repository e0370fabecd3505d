package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/render/policy"
)

func TestASmallHeapGrowsByAsMuchAsALargeOne(t *testing.T) {
	t.Parallel()
	for live, want := range map[uint64]int{0: 2000, 1 << 20: 2000, 24 << 20: 400, 48 << 20: 200, 96 << 20: 100, 1 << 30: 100} {
		if got := growth(live); got != want {
			t.Errorf("%d bytes alive: %d %%, want %d", live, got, want)
		}
	}
}

func TestTheLeastLimitOfAllControlGroupsCounts(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	for name, c := range map[string]struct {
		groups string
		files  map[string]string
		want   int64
	}{
		"version 2, in a container":      {"0::/\n", map[string]string{"memory.max": "1073741824\n"}, gib},
		"version 2, limited further up":  {"0::/pod/controller\n", map[string]string{"pod/memory.max": "1073741824\n", "pod/controller/memory.max": "max\n"}, gib},
		"version 2, the least of two":    {"0::/pod/controller\n", map[string]string{"pod/memory.max": "1073741824\n", "pod/controller/memory.max": "1000\n"}, 1000},
		"version 1":                      {"5:cpu:/x\n4:cpuacct,memory:/pod\n", map[string]string{"memory/pod/memory.limit_in_bytes": "1073741824\n"}, gib},
		"version 1, the path outside":    {"4:memory:/elsewhere/pod\n", map[string]string{"memory/memory.limit_in_bytes": "1073741824\n"}, gib},
		"version 1, no limit":            {"4:memory:/\n", map[string]string{"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		"both versions":                  {"4:memory:/pod\n0::/\n", map[string]string{"memory/pod/memory.limit_in_bytes": "1073741824\n", "unified/memory.max": "max"}, gib},
		"nothing that can be understood": {"what\n\n", map[string]string{"memory.max": "1073741824\n"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proc, root := t.TempDir(), t.TempDir()
			c.files["/self/cgroup"] = c.groups
			for file, text := range c.files {
				at := filepath.Join(root, file)
				if strings.HasPrefix(file, "/") {
					at = filepath.Join(proc, file)
				}
				if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o750), os.WriteFile(at, []byte(text), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			if got := memoryLimit(proc, root); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

// group makes a control group with a limit of memory, or skips the test where
// that is not given to it. It returns the folder.
func (w *world) group(limit int64) string {
	w.t.Helper()
	for _, kind := range []limitFile{{"memory", "memory.limit_in_bytes"}, {".", "memory.max"}} {
		dir := filepath.Join("/sys/fs/cgroup", kind.mount, w.namespace)
		if os.Mkdir(dir, 0o750) != nil {
			continue
		}
		w.t.Cleanup(func() {
			w.until("the control group is empty", func() bool { return os.Remove(dir) == nil })
		})
		if os.WriteFile(filepath.Join(dir, kind.file), []byte(strconv.FormatInt(limit, 10)), 0o600) == nil {
			return dir
		}
	}
	w.t.Skip("SKIPPED: this machine lets us make no control group with a limit of memory: run as root")
	return ""
}

// TestAControllerStaysBelowItsMemoryLimit has the real controller and its policy
// process in a control group, with eight megabytes of manifests, then with a
// bomb. That the limit is one is shown by the same work without any care, which
// the kernel ends.
func TestAControllerStaysBelowItsMemoryLimit(t *testing.T) { // rows K17, D11
	t.Parallel()
	w := newWorld(t, "memory", nil)
	const limit = 320 << 20
	group := w.group(limit)
	w.large("one")
	commit := w.commit(alice)

	careless := w.start([]string{childGroup + "=" + group, "GOMEMLIMIT=off", "GOGC=off"})
	w.ended(careless)
	if err := careless.Err(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("without care it was not killed: %v\n%s", err, w.log(5))
	}

	running := w.start([]string{childGroup + "=" + group})
	w.applied(commit)
	w.write("overlays/local/app/bomb.yaml", bomb(w.namespace))
	w.write("overlays/local/app/kustomization.yaml", "resources: [objects.yaml, bomb.yaml]\n")
	exploded := w.commit(alice)
	w.until("the bomb is refused", func() bool {
		r := w.factory().Status.Refused
		return r != nil && r.Commit == exploded && strings.HasPrefix(r.Code, "limits/")
	})
	w.write("overlays/local/app/kustomization.yaml", "resources: [objects.yaml]\n")
	w.large("two")
	w.applied(w.commit(alice))
	select {
	case <-running.Done():
		t.Fatalf("it ended: %v\n%s", running.Err(), w.log(5))
	default:
	}
	t.Logf("at most %d MiB of %d MiB in use by the controller", w.peak(running)>>20, int64(limit)>>20)
	if peak := w.peak(running); peak >= limit {
		t.Errorf("it used %d bytes, more than there may be", peak)
	}
	w.audit(2)
	running.Stop(shutdownGrace)
	time.Sleep(100 * time.Millisecond) // its policy process ends with it
}

// large declares eight megabytes that do not compress well.
func (w *world) large(value string) {
	var out strings.Builder
	for i := range small {
		fmt.Fprintf(&out, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c-%02d, namespace: %s-work}\ndata:\n  key: %q\n", i, w.namespace, value)
		for j := range 400 {
			fmt.Fprintf(&out, "  k%d: %q\n", j, noise(fmt.Sprint(value, i, j), 1000))
		}
	}
	w.write("overlays/local/app/objects.yaml", out.String())
}

// noise is text of n bytes that only its seed tells.
func noise(seed string, n int) string {
	var out strings.Builder
	for sum := sha256.Sum256([]byte(seed)); out.Len() < n; sum = sha256.Sum256(sum[:]) {
		out.WriteString(hex.EncodeToString(sum[:]))
	}
	return out.String()[:n]
}

// bomb is a ConfigMap whose aliases would grow to gigabytes.
func bomb(namespace string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb, namespace: %s-work}\nx0: &x0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n", namespace)
	for i := range 9 {
		fmt.Fprintf(&out, "x%d: &x%d [%s*x%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*x%d, ", i), 8), i)
	}
	return out.String()
}

// peak is the most that a process had in memory.
func (w *world) peak(c *controller) int64 {
	w.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID()))
	w.must(err)
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			w.must(err)
			return kib << 10
		}
	}
	w.t.Fatal("the kernel does not tell the peak")
	return 0
}

func TestALimitOfTheEnvironmentIsLeftAsItIs(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "1GiB")
	if got := boundMemory(1 << 20); got >= 1<<20 || got <= 0 {
		t.Errorf("the policy process gets %d", got)
	}
	if got := boundMemory(0); got != policy.DefaultMemoryLimit {
		t.Errorf("without a limit the policy process gets %d", got)
	}
	if got := boundMemory(64 << 30); got != policy.DefaultMemoryLimit {
		t.Errorf("with much memory the policy process gets %d", got)
	}
}
