// Package kubetest gives tests a real Kubernetes API: etcd and kube-apiserver as
// child processes on free ports of 127.0.0.1, ready in a few seconds.
//
// There is an API server and nothing else. No controller runs, so a deleted
// namespace stays Terminating, nothing is garbage collected, service accounts
// get no default, and no pod ever starts: tests say what they need of these by
// writing it themselves, or start a controller with [Cluster.StartControllers].
//
// Most tests take the cluster that [Shared] starts once per test process, and a
// namespace of their own in it. Tests that stop the server or look at all of its
// objects start their own with [Start].
//
// etcd listens on loopback without a password. What is stored there is a test's.
package kubetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"k8s.io/client-go/rest"

	"millwright.dev/millwright/tools/assets"
	"millwright.dev/millwright/tools/process"
)

// Options of [Start]. The zero value is fine.
type Options struct {
	// Progress gets a line when the servers have to be built first.
	Progress io.Writer
	// Fsync makes etcd write safely, as production does. Without it a test is
	// faster, and loses data only if the machine itself stops.
	Fsync bool
	// Audit writes every request with its metadata to [Cluster.AuditLog].
	Audit bool
}

// Cluster is a running API server with its etcd.
type Cluster struct {
	// Kubeconfig is a file with the administrator's access.
	Kubeconfig string
	// Kubectl is the path of a kubectl of the same version.
	Kubectl string
	// AuditLog is the file of audit events, one JSON object a line, if asked for.
	AuditLog string

	dir             string
	bin             assets.Bin
	options         Options
	etcdPort        int
	peerPort        int
	apiPort         int
	pki             *pki
	admin           *rest.Config
	etcd, apiserver *process.Process
	controllers     *process.Process
}

// readyWithin is how long a server may take to start: about 3 s on an idle
// machine of two cores, more when tests of other packages run beside it.
const readyWithin = 90 * time.Second

// Start builds the servers if need be and starts them, with their data in dir.
// Whoever starts a cluster ends it with Stop.
func Start(ctx context.Context, dir string, o Options) (*Cluster, error) {
	bin, err := assets.Ensure(ctx, o.Progress, "etcd", "kube-apiserver", "kubectl")
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	ports, err := process.Ports(3)
	if err != nil {
		return nil, err
	}
	c := &Cluster{
		dir: dir, bin: bin, options: o, etcdPort: ports[0], peerPort: ports[1], apiPort: ports[2],
		Kubeconfig: filepath.Join(dir, "kubeconfig"), Kubectl: bin.Path("kubectl"),
	}
	if o.Audit {
		c.AuditLog = filepath.Join(dir, "audit.log")
	}
	if c.pki, err = newPKI(dir, time.Now()); err != nil {
		return nil, fmt.Errorf("making certificates: %w", err)
	}
	if c.admin, err = c.ConfigFor("admin", "system:masters"); err != nil {
		return nil, err
	}
	if err := c.WriteKubeconfig(c.Kubeconfig, c.admin); err != nil {
		return nil, err
	}
	if err := c.startBoth(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

func (c *Cluster) startBoth(ctx context.Context) error {
	if err := c.startEtcd(ctx); err != nil {
		return fmt.Errorf("starting etcd: %w", err)
	}
	return c.StartAPIServer(ctx)
}

// Config is the administrator's access, without client-side rate limits.
func (c *Cluster) Config() *rest.Config { return rest.CopyConfig(c.admin) }

// URL is where the API server listens.
func (c *Cluster) URL() string { return "https://" + process.Addr(c.apiPort) }

// APIServer is the server's process, for those who count its CPU time.
func (c *Cluster) APIServer() *process.Process { return c.apiserver }

// Etcd is etcd's process.
func (c *Cluster) Etcd() *process.Process { return c.etcd }

// Stop ends both: the API server first, since one whose etcd is gone does not
// end when asked.
func (c *Cluster) Stop() {
	c.controllers.Stop(3 * time.Second)
	c.StopAPIServer()
	c.etcd.Stop(3 * time.Second)
}

// StopAPIServer ends the API server in order, within five seconds.
func (c *Cluster) StopAPIServer() {
	if c.apiserver != nil {
		_ = c.apiserver.Signal(syscall.SIGCONT)
	}
	c.apiserver.Stop(5 * time.Second)
}

// KillAPIServer ends the API server as a crash does.
func (c *Cluster) KillAPIServer() { c.apiserver.Kill() }

// PauseAPIServer makes the API server hang: connections are accepted by the
// kernel and nothing answers, until ResumeAPIServer.
func (c *Cluster) PauseAPIServer() error { return c.apiserver.Signal(syscall.SIGSTOP) }

// ResumeAPIServer ends a pause.
func (c *Cluster) ResumeAPIServer() error { return c.apiserver.Signal(syscall.SIGCONT) }

// StartAPIServer starts the API server again after it was stopped or killed, at
// the same address and with the same data, and waits until it is ready.
func (c *Cluster) StartAPIServer(ctx context.Context) error {
	if c.apiserver != nil {
		select {
		case <-c.apiserver.Done():
		default:
			return errors.New("the API server is running")
		}
	}
	args, err := c.apiserverArgs()
	if err != nil {
		return err
	}
	if c.apiserver, err = c.run("kube-apiserver", args); err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(c.admin)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	// The namespaces are made a moment after the server says that it is ready.
	for _, path := range []string{"/readyz", "/api/v1/namespaces/default", "/api/v1/namespaces/kube-system"} {
		if err := c.apiserver.Wait(ctx, process.OK(client, c.URL()+path)); err != nil {
			return fmt.Errorf("starting kube-apiserver: %w", err)
		}
	}
	return nil
}

// Keep copies the data of etcd, which stops both servers for a moment. Back is a
// restore of that copy, as after a loss of data: what was written since is gone,
// and resource versions begin again where they were.
func (c *Cluster) Keep(ctx context.Context) (back func(context.Context) error, err error) {
	data, kept := filepath.Join(c.dir, "etcd"), filepath.Join(c.dir, "etcd-kept")
	c.Stop()
	if err := os.CopyFS(kept, os.DirFS(data)); err != nil {
		return nil, fmt.Errorf("copying the data of etcd: %w", err)
	}
	back = func(ctx context.Context) error {
		c.Stop()
		if err := os.RemoveAll(data); err != nil {
			return err
		}
		if err := os.Rename(kept, data); err != nil {
			return err
		}
		return c.startBoth(ctx)
	}
	return back, c.startBoth(ctx)
}

func (c *Cluster) startEtcd(ctx context.Context) error {
	client, peer := "http://"+process.Addr(c.etcdPort), "http://"+process.Addr(c.peerPort)
	args := []string{
		"--data-dir", filepath.Join(c.dir, "etcd"), "--log-level", "warn",
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer,
	}
	if !c.options.Fsync {
		args = append(args, "--unsafe-no-fsync")
	}
	var err error
	if c.etcd, err = c.run("etcd", args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	return c.etcd.Wait(ctx, process.OK(&http.Client{}, client+"/health"))
}

func (c *Cluster) run(program string, args []string) (*process.Process, error) {
	return process.Start(process.Spec{
		Name: program, Path: c.bin.Path(program), Args: args, Dir: c.dir,
		Env: []string{"HOME=" + c.dir}, Log: filepath.Join(c.dir, program+".log"),
	})
}

func (c *Cluster) apiserverArgs() ([]string, error) {
	args := []string{
		"--etcd-servers=http://" + process.Addr(c.etcdPort),
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(c.apiPort),
		// An address must be announced and may not be loopback: this one is for
		// documentation (RFC 5737), and is neither dialled nor published.
		"--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none",
		"--client-ca-file=" + c.pki.caFile,
		"--tls-cert-file=" + c.pki.serverCert, "--tls-private-key-file=" + c.pki.serverKey,
		"--service-account-key-file=" + c.pki.accountKey, "--service-account-signing-key-file=" + c.pki.accountKey,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-cluster-ip-range=198.19.0.0/16",
		"--authorization-mode=Node,RBAC", "--allow-privileged=true",
	}
	if !c.options.Audit {
		return args, nil
	}
	policy := filepath.Join(c.dir, "audit-policy.json")
	err := writeFile(policy, []byte(`{"apiVersion":"audit.k8s.io/v1","kind":"Policy","omitStages":["RequestReceived"],"rules":[{"level":"Metadata"}]}`))
	return append(args, "--audit-policy-file="+policy, "--audit-log-path="+c.AuditLog, "--audit-log-mode=blocking"), err
}
