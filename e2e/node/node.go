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
// The first process of the namespaces is this program again, called with
// [Inside]; when it ends, the kernel ends all others. It ends with us.
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
	"syscall"
	"time"

	"k8s.io/client-go/rest"

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
	inside   *process.Process
	forwards []*forward
	admin    *rest.Config
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
// node is Ready. Whoever starts a node ends it with Stop.
func Start(ctx context.Context, o Options) (*Node, error) {
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := Preflight(dir); err != nil {
		return nil, err
	}
	bin, err := assets.Ensure(ctx, o.Progress, Programs()...)
	if err != nil {
		return nil, err
	}
	n := &Node{dir: dir, Kubeconfig: filepath.Join(dir, "kubeconfig"), floor: floor{
		Dir: dir, Cgroup: cgroupOf(dir), Pause: o.Pause, Jail: o.Jail, Programs: map[string]string{},
	}}
	for _, name := range Programs() {
		n.floor.Programs[name] = bin.Path(name)
	}
	if err := n.start(ctx, o); err != nil {
		n.Stop()
		return nil, err
	}
	return n, nil
}

func (n *Node) start(ctx context.Context, o Options) error {
	ports, err := process.Ports(1)
	if err != nil {
		return err
	}
	if n.admin, err = writeAccess(n.dir, "https://"+process.Addr(ports[0]), time.Now()); err != nil {
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
	if err := makeCgroup(n.floor.Cgroup); err != nil {
		return err
	}
	if err := n.enter(); err != nil {
		return err
	}
	// The network is there when its first process says so.
	if err := n.await(ctx, 10*time.Second, func(context.Context) error { return exists(n.path("run", "network")) }); err != nil {
		return err
	}
	f, err := forwardIn(n.inside.PID(), process.Addr(ports[0]), fmt.Sprintf("127.0.0.1:%d", apiPort))
	if err != nil {
		return err
	}
	n.forwards = append(n.forwards, f)
	for port, server := range o.Servers {
		f, err := forwardOut(n.inside.PID(), fmt.Sprintf("%s:%d", IP, port), process.Addr(server))
		if err != nil {
			return fmt.Errorf("forwarding port %d of the node: %w", port, err)
		}
		n.forwards = append(n.forwards, f)
	}
	return n.await(ctx, readyWithin, n.ready)
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
		Env: []string{"HOME=" + n.dir, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, Log: n.path("node.log"),
		Namespaces: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS,
	})
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

// Config is the administrator's access, without client-side rate limits.
func (n *Node) Config() *rest.Config { return rest.CopyConfig(n.admin) }

// PID is the node's first process as the machine counts: whoever enters its
// namespaces (nsenter(1)) names it.
func (n *Node) PID() int { return n.inside.PID() }

// Done is closed when the node has ended.
func (n *Node) Done() <-chan struct{} { return n.inside.Done() }

// Stop ends the node: what runs there is asked to end, the API server before its
// store, and whatever is left goes with the namespaces. Its data stays.
func (n *Node) Stop() {
	for _, f := range n.forwards {
		f.stop()
	}
	n.inside.Stop(30 * time.Second)
	_ = removeCgroup(n.floor.Cgroup)
}

func exists(path string) error {
	_, err := os.Stat(path)
	return err
}

var errNotReady = errors.New("the node is not Ready")
