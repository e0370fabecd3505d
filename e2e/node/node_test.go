package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// options are those of the tests' node: one server, and an image that is not there.
func options(dir string, server int) Options {
	return Options{
		Dir: dir, Pause: Registry + "/pause@sha256:" + strings.Repeat("0", 64), Servers: map[int]int{5000: server},
		Jail: Jail{Namespaces: []string{"jailed"}, GitPort: 8480}, Progress: os.Stderr,
	}
}

// TestANodeIsStartedAgainAfterAnyEnd starts a node in another process, which is
// killed, and two more times with the same folder. All the while nothing of it is
// to be on the machine, and afterwards nothing at all.
func TestANodeIsStartedAgainAfterAnyEnd(t *testing.T) { // not beside tests that make mounts and networks
	dir := filepath.Join(t.TempDir(), odd)
	wholeNode(t, dir)
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	go serveGreeting(server)
	o := options(dir, server.Addr().(*net.TCPAddr).Port)
	before := stateOfTheMachine(t)

	killed(t, o)
	unchanged(t, before)
	if err := Clean(dir); err != nil {
		t.Error(err)
	}
	noGroups(t, dir)

	ca := file(t, dir, "pki", "ca.crt")
	var last int
	for _, name := range []string{"after it was killed", "after it was stopped"} {
		began := time.Now()
		n, err := Start(t.Context(), o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Logf("%s: Ready in %.1f s", name, time.Since(began).Seconds())
		t.Cleanup(n.Stop)
		again(t, n, name)
		alone(t, n)
		greeted(t, n)
		unchanged(t, before)
		if n.PID() == last || ca != file(t, dir, "pki", "ca.crt") {
			t.Error("another authority, or the same process")
		}
		last = n.PID()
		stopping := time.Now()
		n.Stop()
		if took := time.Since(stopping); took > 25*time.Second {
			t.Errorf("it was killed, since it did not end in %v", took)
		}
		noGroups(t, dir)
		if _, running, err := Running(dir); running || err != nil {
			t.Errorf("it is still running: %v", err)
		}
	}
	unchanged(t, before)
	onlyRootGetsIn(t, dir)
}

// TestAStartThatIsGivenUpLeavesNothing ends one while its servers start.
func TestAStartThatIsGivenUpLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	wholeNode(t, dir)
	before := stateOfTheMachine(t)
	for _, until := range []string{"run/network", "kube-apiserver.log"} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for exists(filepath.Join(dir, until)) != nil {
				time.Sleep(10 * time.Millisecond)
			}
			cancel()
		}()
		began := time.Now()
		n, err := Start(ctx, options(dir, 1))
		if err == nil {
			n.Stop()
			t.Fatal("it was started, by a context that had ended")
		}
		if took := time.Since(began); took > 40*time.Second {
			t.Errorf("%s: it took %v", until, took)
		}
		if _, running, err := Running(dir); running || err != nil {
			t.Errorf("%s: it is still running: %v", until, err)
		}
		noGroups(t, dir)
		unchanged(t, before)
		cancel()
	}
}

// killed starts a node in another process, has it write something, and kills that
// process.
func killed(t *testing.T, o Options) {
	t.Helper()
	cmd := be(t, "node", 0, "DIR="+o.Dir, "SERVER="+itoa(o.Servers[5000]))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(out) // it ends when the process does
	if err == nil {
		err = cmd.Wait()
	}
	if !strings.Contains(string(said), "killing myself") || err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("%v: %s\n%s", err, said, tail(filepath.Join(o.Dir, "node.log")))
	}
	if hierarchies, err := theCgroups().hierarchies(); err != nil || exists(filepath.Join(hierarchies[0], ControlGroup(o.Dir))) != nil {
		t.Errorf("nothing was left behind, so nothing is shown here: %v", err)
	}
}

// beNode starts a node, writes something, and dies.
func beNode() int {
	ctx := context.Background()
	var port int
	_, _ = fmt.Sscan(os.Getenv("SERVER"), &port)
	n, err := Start(ctx, options(os.Getenv("DIR"), port))
	if err == nil {
		var client *kubernetes.Clientset
		if client, err = clientOf(n); err == nil {
			_, err = client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{})
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("killing myself")
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	fmt.Println(err)
	select {}
}

func clientOf(n *Node) (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", n.Kubeconfig)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// again says whether the node has what was written before.
func again(t *testing.T, n *Node, name string) {
	t.Helper()
	client, err := clientOf(n)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
		t.Errorf("%s: %v", name, err)
	}
}

// alone says whether a second node in the folder is refused, while the first goes
// on.
func alone(t *testing.T, n *Node) {
	t.Helper()
	if pid, running, err := Running(n.dir); pid != n.PID() || !running || err != nil {
		t.Errorf("running is process %d, not %d: %v, %v", pid, n.PID(), running, err)
	}
	for what, err := range map[string]error{"preflight": Preflight(t.Context(), n.dir), "clean": clean(n.dir, 0)} {
		if got := Refusals(err); len(got) != 1 || got[0].Reason != reasonRunning {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := exists(filepath.Join(n.dir, "run", "network")); err != nil {
		t.Error(err)
	}
}

// greeted asks for the server on the machine from inside the node.
func greeted(t *testing.T, n *Node) {
	t.Helper()
	var got []byte
	err := n.network.do(func() error {
		c, err := net.DialTimeout("tcp", IP+":5000", 5*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		got, err = io.ReadAll(c)
		return err
	})
	if err != nil || string(got) != "hello" {
		t.Errorf("the server on the machine said %q, %v", got, err)
	}
}

func serveGreeting(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "hello")
		_ = c.Close()
	}
}

// stateOfTheMachine is what no node may change, while it runs or afterwards: by
// name, so that a difference can be read.
func stateOfTheMachine(t *testing.T) map[string]string {
	t.Helper()
	state := map[string]string{}
	names := []string{"net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables", "net/netfilter/nf_conntrack_max", "kernel/hostname", "fs/inotify/max_user_instances"}
	for _, name := range append(names, slices.Collect(maps.Keys(tunables()))...) {
		data, err := os.ReadFile(filepath.Join("/proc/sys", name))
		state[name] = fmt.Sprintf("%s%v", data, errors.Is(err, os.ErrNotExist))
	}
	for name, args := range map[string][]string{"nftables": {"nft", "list", "ruleset"}, "links": {"ip", "-brief", "link"}} {
		program := machine{root: "/"}.find(args[0])
		if program == "" {
			continue
		}
		out, err := exec.CommandContext(t.Context(), program, args[1:]...).CombinedOutput()
		state[name] = fmt.Sprintf("%s%v", out, err)
	}
	for name, lines := range map[string][]string{"mounts": words("/proc/self/mounts"), "opt": namesIn("/opt"), "libexec": namesIn("/usr/libexec"), "etc": namesIn("/etc"), "cni": namesIn("/var/lib")} {
		state[name] = strings.Join(lines, " ")
	}
	return state
}

func namesIn(dir string) []string {
	var names []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func unchanged(t *testing.T, before map[string]string) {
	t.Helper()
	if diff := cmp.Diff(before, stateOfTheMachine(t)); diff != "" {
		t.Errorf("the machine is another one now:\n%s", diff)
	}
}

func noGroups(t *testing.T, dir string) {
	t.Helper()
	hierarchies, err := theCgroups().hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hierarchies {
		if exists(filepath.Join(h, ControlGroup(dir))) == nil {
			t.Errorf("a control group is left in %s", h)
		}
	}
}

func onlyRootGetsIn(t *testing.T, dir string) {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v", info.Mode(), err)
	}
	for _, name := range []string{"pki", "run", "."} {
		entries, err := os.ReadDir(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			// The two files of names are read by pods.
			if info.Mode().IsRegular() && info.Mode().Perm() != 0o600 && e.Name() != "hosts" && e.Name() != "resolv.conf" {
				t.Errorf("%s/%s has mode %v", name, e.Name(), info.Mode())
			}
		}
	}
}

func file(t *testing.T, parts ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(parts...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func tail(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}
