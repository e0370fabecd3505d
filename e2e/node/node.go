// Package node brings up one real Kubernetes node: etcd, the control plane,
// containerd, kubelet and kube-proxy, in network, mount, process and IPC
// namespaces of their own (namespaces(7)).
//
//	n, err := node.Start(ctx, node.Options{Dir: dir})
//	defer n.Stop()
//	…                              // kubectl --kubeconfig n.Kubeconfig
//
// Nothing of it is on the machine: addresses are those of RFC 2544 and exist in
// the node's own network only, which has no way out; mounts, bridges and
// nftables rules are the namespaces', and go with them. What the node and the
// machine say to each other goes through forwards: a port of the machine's
// loopback that leads to the API server, and ports of the node that lead to
// servers on the machine's loopback (the registry, the Git server).
//
// On the machine are, besides the folder, one control group for the pods, which
// Stop removes ([Clean] does it after a node that was killed), and controllers of
// version 2 that were off at the root, which stay on. The kernel's settings are
// left as they are: the kubelet gets to read what it would set.
//
// It is no sandbox: what is privileged on the node is root on the machine, and
// sees its disk. etcd listens on the node's loopback without a password.
//
// The first process of the namespaces is this program again, called with
// [Inside]; when it ends, the kernel ends all others. It ends with us. A folder
// has one node at a time, and can be started again after any end.
//
// Needs root, Linux, cgroups and nft(8); [Preflight] says what is missing.
package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"millwright.dev/millwright/tools/assets"
	"millwright.dev/millwright/tools/process"
)

// Addresses of the node's network: the range for tests of network devices
// (RFC 2544), which nobody routes.
const (
	Name              = "factory"
	IP                = "198.18.0.1"
	PodCIDR           = "198.18.16.0/20"
	Gateway           = "198.18.16.1"
	ServiceCIDR       = "198.19.0.0/16"
	KubernetesService = "198.19.0.1"
	DNS               = "198.19.0.10"
)

// Registry is the name that images have on the node. Everything that pulls or
// pushes takes hosts below localhost for plain HTTP, without being told to.
const Registry = "registry.localhost:5000"

const apiPort = 6443

// Options of [Start].
type Options struct {
	// Dir takes all data and logs. What is there is used again: a node that is
	// started with the folder of another one goes on where that one was.
	Dir string
	// Pause is the image of the container that holds a pod's namespaces.
	Pause string
	// Servers are servers on the machine's loopback, by the port of the node that
	// is to lead to them.
	Servers map[int]int
	// Jail bounds what pods of some namespaces may reach.
	Jail Jail
	// Progress gets a line now and then; nil means quiet.
	Progress io.Writer
}

// Jail is what factory-jail (tools/pods) is told: pods of these namespaces reach
// what the class that their annotation names may reach, from their first packet
// on; nothing without one.
type Jail struct {
	Namespaces []string `json:"namespaces"`
	// GitPort is the port of the node that leads to a Git server.
	GitPort int `json:"gitPort"`
	// Allow are CLASS=ADDRESS:PORT besides.
	Allow []string `json:"allow"`
}

// Node is a running node.
type Node struct {
	// Kubeconfig is a file with the administrator's access, for the machine.
	Kubeconfig string

	dir      string
	floor    floor
	lock     *os.File
	inside   *process.Process
	network  *network
	forwards []*forward
	admin    access
	began    time.Time
}

// floor is what the first process of the namespaces is told: all that does not
// change while it runs.
type floor struct {
	Dir      string            `json:"dir"`
	Programs map[string]string `json:"programs"`
	Cgroup   string            `json:"cgroup"`
	Pause    string            `json:"pause"`
	Jail     Jail              `json:"jail"`
}

// Programs are what a node runs.
func Programs() []string {
	return []string{
		"etcd", "kube-apiserver", "kubectl", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy",
		"containerd", "containerd-shim-runc-v2", "runc", "bridge", "host-local", "loopback", "factory-jail",
	}
}

// readyWithin is how long the node may take: about 15 s on two idle cores.
const readyWithin = 3 * time.Minute

// Start builds what has to be built and starts the node. It returns when the
// node is Ready. Whoever starts a node ends it with Stop. A [Refusal] says what
// has to be changed before it can be started.
func Start(ctx context.Context, o Options) (*Node, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	dir, err := folder(ctx, o)
	if err != nil {
		return nil, err
	}
	n := &Node{dir: dir, Kubeconfig: filepath.Join(dir, "kubeconfig"), began: time.Now(), floor: floor{
		Dir: dir, Cgroup: ControlGroup(dir), Pause: o.Pause, Jail: o.Jail, Programs: map[string]string{},
	}}
	if n.lock, err = hold(dir, leaving); err != nil {
		return nil, err
	}
	if err := n.start(ctx, o); err != nil {
		n.Stop()
		return nil, err
	}
	return n, nil
}

// folder makes the node's folder, which is for root only, where one can be.
func folder(ctx context.Context, o Options) (string, error) {
	for port := range o.Servers {
		if port < 1 || port > 65535 || slices.Contains(taken(), port) {
			return "", refuse(reasonPort, "%d is no port, or one that the node itself listens on", port)
		}
	}
	dir, err := realPath(o.Dir)
	if err != nil {
		return "", err
	}
	m, err := thisMachine(ctx)
	if err != nil {
		return "", err
	}
	if err := m.preflight(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o700)
}

// taken are the ports on which the node listens for others.
func taken() []int { return []int{apiPort, 10250} }

func (n *Node) start(ctx context.Context, o Options) error {
	bin, err := assets.Ensure(ctx, o.Progress, Programs()...)
	if err != nil {
		return err
	}
	for _, name := range Programs() {
		n.floor.Programs[name] = bin.Path(name)
	}
	ports, err := process.Ports(1)
	if err != nil {
		return err
	}
	if err := n.prepare(process.Addr(ports[0])); err != nil {
		return err
	}
	if err := n.enter(); err != nil {
		return err
	}
	// The network is there when its first process says so.
	if err := n.await(ctx, time.Minute, func(context.Context) error { return exists(n.path("run", "network")) }); err != nil {
		return err
	}
	if err := n.connect(process.Addr(ports[0]), o.Servers); err != nil {
		return err
	}
	return n.await(ctx, readyWithin, n.ready)
}

// prepare writes what the node's programs read, and removes what an earlier node
// has left.
func (n *Node) prepare(address string) error {
	n.began = time.Now()
	var err error
	if n.admin, err = writeAccess(n.dir, "https://"+address, n.began); err != nil {
		return fmt.Errorf("making certificates: %w", err)
	}
	if err := os.RemoveAll(n.path("run")); err != nil {
		return err
	}
	if err := os.MkdirAll(n.path("run"), 0o700); err != nil {
		return err
	}
	if err := writeSettings(n.floor); err != nil {
		return err
	}
	if err := theCgroups().remove(n.floor.Cgroup, leaving); err != nil {
		return fmt.Errorf("what an earlier node has left: %w", err)
	}
	return theCgroups().make(n.floor.Cgroup)
}

// connect makes the ways in and out.
func (n *Node) connect(address string, servers map[int]int) error {
	var err error
	if n.network, err = networkOf(n.inside.PID()); err != nil {
		return err
	}
	f, err := n.network.in(address, fmt.Sprintf("127.0.0.1:%d", apiPort))
	if err != nil {
		return fmt.Errorf("making a way to the API server: %w", err)
	}
	n.forwards = append(n.forwards, f)
	for port, server := range servers {
		f, err := n.network.out(fmt.Sprintf("%s:%d", IP, port), process.Addr(server))
		if err != nil {
			return fmt.Errorf("forwarding port %d of the node: %w", port, err)
		}
		n.forwards = append(n.forwards, f)
	}
	return nil
}

// enter starts the first process of the namespaces.
func (n *Node) enter() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	told, err := json.Marshal(n.floor)
	if err != nil {
		return err
	}
	n.inside, err = process.Start(process.Spec{
		Name: "the node", Path: self, Args: []string{Inside, string(told)}, Dir: n.dir,
		Env: []string{"HOME=" + n.dir, "PATH=" + programPath}, Log: n.path("node.log"),
		Namespaces: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
		Files:      []*os.File{n.lock},
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(n.lock, n.inside.PID())
	return err
}

// await asks until the answer is yes. It ends early when the node does.
func (n *Node) await(ctx context.Context, within time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return n.inside.Wait(ctx, ready)
}

func (n *Node) path(parts ...string) string {
	return filepath.Join(append([]string{n.dir}, parts...)...)
}

// PID is the node's first process as the machine counts: whoever enters its
// namespaces (nsenter(1)) names it.
func (n *Node) PID() int { return n.inside.PID() }

// Done is closed when the node has ended.
func (n *Node) Done() <-chan struct{} { return n.inside.Done() }

// Stop ends the node: what runs there is asked to end, the API server before its
// store, and whatever is left goes with the namespaces. Its data stays. Stopping
// twice does nothing.
func (n *Node) Stop() {
	for _, f := range n.forwards {
		f.stop()
	}
	n.forwards = nil
	n.inside.Stop(30 * time.Second)
	n.network.close()
	_ = theCgroups().remove(n.floor.Cgroup, leaving)
	_ = n.lock.Close()
}

func exists(path string) error {
	_, err := os.Stat(path)
	return err
}

var errNotReady = errors.New("the node is not Ready")
