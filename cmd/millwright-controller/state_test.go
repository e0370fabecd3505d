package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/faultproxy"
	"millwright.dev/millwright/tools/process"
)

// limit sets a limit of a running controller, and returns what it was.
func (w *world) limit(c *controller, resource int, n uint64) uint64 {
	w.t.Helper()
	var old unix.Rlimit
	w.must(unix.Prlimit(c.PID(), resource, nil, &old))
	w.must(unix.Prlimit(c.PID(), resource, &unix.Rlimit{Cur: n, Max: old.Max}, nil))
	return old.Cur
}

// descriptors counts the open files of a process.
func (w *world) descriptors(c *controller) int {
	w.t.Helper()
	found, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.PID()))
	w.must(err)
	return len(found)
}

// seconds of CPU time that a process has used.
func (w *world) seconds(c *controller) float64 {
	w.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.PID()))
	w.must(err)
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+2:]))
	var ticks float64
	for _, i := range []int{11, 12} {
		n, err := strconv.ParseFloat(fields[i], 64)
		w.must(err)
		ticks += n
	}
	return ticks / 100
}

// TestADiskThatTakesNothingMoreStopsNoEnforcement takes away the right to write
// files (the kernel then fails every write, as on a full disk) or to open any.
func TestADiskThatTakesNothingMoreStopsNoEnforcement(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		world string
		set   func(*world, *controller) (lift func())
		says  string
	}{
		"K14 no file can grow any more": {"full", func(w *world, c *controller) func() {
			old := w.limit(c, unix.RLIMIT_FSIZE, 0)
			return func() { w.limit(c, unix.RLIMIT_FSIZE, old) }
		}, "file too large"},
		"K15 no file can be opened any more": {"files", func(w *world, c *controller) func() {
			old := w.limit(c, unix.RLIMIT_NOFILE, uint64(w.descriptors(c)))
			return func() { w.limit(c, unix.RLIMIT_NOFILE, old) }
		}, "too many open files"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.world, nil)
			commit := w.revise("one", small)
			running := w.start(nil)
			w.applied(commit)
			lift := c.set(w, running)
			commit = w.revise("two", small)
			w.until("it says what is wrong", func() bool {
				for _, condition := range w.factory().Status.Conditions {
					if condition.Status != metav1.ConditionTrue && strings.Contains(condition.Message, c.says) {
						return true
					}
				}
				return false
			})
			before := w.seconds(running)
			w.edit("c-07", "drifted")
			w.until("drift is put back", func() bool { return w.values()["one"] == small })
			time.Sleep(2 * time.Second)
			if used := w.seconds(running) - before; used > 3 {
				t.Errorf("it spins: %.1f s of CPU time", used)
			}
			for _, pattern := range []string{"*.pack", "objects/pack/tmp_*"} {
				left, err := filepath.Glob(filepath.Join(w.path("data"), w.namespace, "factory", "source.git", pattern))
				w.must(err)
				if len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			}
			lift()
			w.applied(commit)
			w.promises("two", small, 2)
		})
	}
}

// TestAControllerWaitsForAnAPIServerThatIsAwayAtTheStart is about the process:
// it is alive, and not ready.
func TestAControllerWaitsForAnAPIServerThatIsAwayAtTheStart(t *testing.T) { // row G01
	t.Parallel()
	w := newWorld(t, "early", nil)
	commit := w.revise("one", small)
	ports, err := process.Ports(1)
	w.must(err)
	w.proxy.Away(true)
	c := w.start(nil, "--health-addr", process.Addr(ports[0]), "--leader-elect")
	w.until("it is alive", func() bool { return w.status(ports[0], "/healthz") == http.StatusOK })
	if code := w.status(ports[0], "/readyz"); code == http.StatusOK {
		t.Error("it says that it is ready without an API server")
	}
	select {
	case <-c.Done():
		t.Fatalf("it gave up: %v\n%s", c.Err(), w.log(5))
	case <-time.After(long(12*time.Second, 5*time.Minute)):
	}
	w.proxy.Forget()
	w.proxy.Away(false)
	back := time.Now()
	w.until("it is ready", func() bool { return w.status(ports[0], "/readyz") == http.StatusOK })
	w.applied(commit)
	applied := time.Since(back)
	asked, written := w.first(back, nil), w.first(back, func(s faultproxy.Seen) bool { return s.Verb == "apply" })
	t.Logf("after the API server came back: asked %v, written %v, applied %v", asked, written, applied)
	if soaks() && asked > 2*time.Second {
		t.Errorf("it asked %v after the API server came back", asked)
	}
	w.promises("one", small, 1)
}

// first is how long after a time something was first asked for that is not the
// question whether the API server is ready.
func (w *world) first(since time.Time, of func(faultproxy.Seen) bool) time.Duration {
	w.t.Helper()
	for _, s := range w.proxy.Log() {
		if s.At.After(since) && s.Resource != "" && (of == nil || of(s)) {
			return s.At.Sub(since).Round(time.Millisecond)
		}
	}
	w.t.Fatal("it was never asked for")
	return 0
}

// soaks says whether faults take their whole time: with make soak.
func soaks() bool { return os.Getenv("MILLWRIGHT_SOAK") != "" }

// long is how long a fault lasts: enough to be one, or its whole time.
func long(enough, whole time.Duration) time.Duration {
	if soaks() {
		return whole
	}
	return enough
}

// get fetches a page of the controller.
func (w *world) get(port int, path string) (code int, body string) {
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+process.Addr(port)+path, nil)
	w.must(err)
	answer, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	w.must(err)
	return answer.StatusCode, string(data)
}

func (w *world) status(port int, path string) int {
	code, _ := w.get(port, path)
	return code
}

// TestNoSecretIsInAnythingThatTheControllerSays hides canaries in everything
// secret that it touches, and looks for them in everything that it says.
func TestNoSecretIsInAnythingThatTheControllerSays(t *testing.T) { // rows F15, D25
	t.Parallel()
	w := newWorld(t, "canary", nil)
	canaries := map[string]string{}
	canary := func(what string) string {
		canaries[what] = "canary-" + what + "-tweet"
		return canaries[what]
	}
	data, err := os.ReadFile(w.path("key.pem"))
	w.must(err)
	canaries["attest-key"] = string(data[40:80])
	w.must(os.WriteFile(w.path("token"), []byte(canary("identity-token")), 0o600))
	w.must(w.client.Create(t.Context(), &corev1.Secret{
		ObjectMeta: metaOf(w.namespace, "source"), StringData: map[string]string{"username": canary("username"), "password": canary("password")},
	}))
	f := w.factory()
	f.Spec.Source.SecretRef = &v1alpha1.LocalReference{Name: "source"}
	w.must(w.client.Update(t.Context(), f))
	w.write("overlays/local/app/secret.yaml", fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: %s-work}\nstringData: {key: %q}\n", w.namespace, canary("declared")))
	w.write("overlays/local/app/kustomization.yaml", "resources: [objects.yaml, secret.yaml]\n")
	ports, err := process.Ports(1)
	w.must(err)
	bad := w.revise("one", small)
	c := w.start(nil, "--debug", "--metrics-addr", process.Addr(ports[0]), "--identity-token-file", w.path("token"))
	w.until("the Secret in Git is refused", func() bool {
		s := w.factory().Status
		return s.Refused != nil && s.Refused.Commit == bad && s.Refused.Code == "render/secret"
	})
	// Somebody hides one in the cluster: drift is told by field, never by value.
	w.write("overlays/local/app/kustomization.yaml", "resources: [objects.yaml]\n")
	w.applied(w.revise("two", small))
	w.edit("c-01", canary("drifted"))
	w.until("drift is put back", func() bool { return w.values()["two"] == small })
	w.until("drift is reported", func() bool { return w.factory().Status.Drift.Corrected > 0 })
	_, metrics := w.get(ports[0], "/metrics")
	log, err := os.ReadFile(c.log)
	w.must(err)
	if !strings.Contains(metrics, "millwright") || len(log) == 0 {
		t.Fatal("there is nothing to look at")
	}
	for place, text := range map[string]string{"log": string(log), "metrics": metrics, "objects": w.said()} {
		for what, secret := range canaries {
			for form, s := range map[string]string{
				"as it is": secret, "in base64": base64.StdEncoding.EncodeToString([]byte(secret))[:len(secret)], "in hex": hex.EncodeToString([]byte(secret)),
				"escaped": url.QueryEscape(secret),
			} {
				if strings.Contains(text, s) {
					t.Errorf("%s %s is in the %s", what, form, place)
				}
			}
		}
	}
}

// said is all that the controller wrote to the cluster about itself.
func (w *world) said() string {
	w.t.Helper()
	var out strings.Builder
	var events eventsv1.EventList
	var records v1alpha1.AppliedRevisionList
	var inventory corev1.ConfigMapList
	for _, list := range []client.ObjectList{&events, &records, &inventory} {
		w.must(w.client.List(w.t.Context(), list, client.InNamespace(w.namespace)))
	}
	for _, r := range records.Items {
		var bundle struct {
			Envelope struct{ Payload []byte } `json:"dsseEnvelope"`
		}
		for _, signed := range []string{r.Spec.Bundle, r.Spec.SourceVerification, r.Spec.Provenance} {
			if signed == "" {
				continue
			}
			w.must(json.Unmarshal([]byte(signed), &bundle))
			out.Write(bundle.Envelope.Payload)
		}
	}
	for _, part := range []any{events, records, inventory, w.factory()} {
		data, err := json.Marshal(part)
		w.must(err)
		out.Write(data)
	}
	return out.String()
}

// TestListenersAreOnLoopbackUnlessAnAddressSaysOtherwise looks at the sockets of
// the process.
func TestListenersAreOnLoopbackUnlessAnAddressSaysOtherwise(t *testing.T) { // row F16
	t.Parallel()
	w := newWorld(t, "sockets", nil)
	ports, err := process.Ports(3)
	w.must(err)
	var flags []string
	for i, flag := range []string{"--metrics-addr", "--health-addr", "--poke-addr"} {
		flags = append(flags, flag, ":"+strconv.Itoa(ports[i]))
	}
	c := w.start(nil, flags...)
	w.until("everything listens", func() bool { return len(w.listeners(c)) == len(ports) })
	for _, address := range w.listeners(c) {
		if !strings.HasPrefix(address, "0100007F:") {
			t.Errorf("it listens on %s", address)
		}
	}
	c.Stop(shutdownGrace)
	commit := w.revise("one", small)
	bare := w.start(nil)
	w.applied(commit)
	if found := w.listeners(bare); len(found) != 0 {
		t.Errorf("without being asked it listens on %v", found)
	}
}

// listeners are the addresses that a process listens on, as the kernel writes them.
func (w *world) listeners(c *controller) []string {
	w.t.Helper()
	mine := map[string]bool{}
	dir := fmt.Sprintf("/proc/%d/fd", c.PID())
	found, err := os.ReadDir(dir)
	w.must(err)
	for _, fd := range found {
		if target, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil {
			mine[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] = true
		}
	}
	var out []string
	for _, table := range []string{"tcp", "tcp6"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", c.PID(), table))
		if err != nil {
			continue // a kernel without IPv6
		}
		for line := range strings.SplitSeq(string(data), "\n") {
			const listening = "0A"
			if f := strings.Fields(line); len(f) > 9 && f[3] == listening && mine[f[9]] {
				out = append(out, f[1])
			}
		}
	}
	return out
}
