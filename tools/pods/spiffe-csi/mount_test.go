package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"millwright.dev/millwright/tools/pods/internal/needs"
)

// The tests below mount. They run in a mount namespace of their own, into which
// the test binary starts itself once more; without root they cannot.
func inMountNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv("MOUNT_NAMESPACE") != "" {
		return true
	}
	if os.Getuid() != 0 {
		needs.Skip(t, "mounting needs root; nothing was mounted here")
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), "MOUNT_NAMESPACE=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("in a mount namespace of its own: %v\n%s", err, out)
	}
	return false
}

// node is what the driver sees: the kubelet's folders and the agent's.
type node struct {
	options
	target string
}

func newNode(t *testing.T) node {
	t.Helper()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	if err := unix.Mount("node", base, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(base, unix.MNT_DETACH) })
	if err := unix.Mount("", base, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	n := node{options: options{
		node: "factory", agentDir: filepath.Join(base, "agent"), podsDir: filepath.Join(base, "pods"),
		csiSocket: filepath.Join(base, "plugins", "csi.sock"), registration: filepath.Join(base, "registry"),
	}}
	n.target = filepath.Join(n.podsDir, podUID, "volumes", "kubernetes.io~csi", "spiffe", "mount")
	for _, dir := range []string{n.agentDir, filepath.Dir(n.target), n.registration} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func dial(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// start runs the driver and returns its two clients and how it ends.
func start(t *testing.T, n node) (csi.NodeClient, registerapi.RegistrationClient, func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, n.options, slog.New(slog.DiscardHandler)) }()
	end := func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(10 * time.Second):
			return errors.New("does not end")
		}
	}
	reg := registerapi.NewRegistrationClient(dial(t, filepath.Join(n.registration, "csi.spiffe.io-reg.sock")))
	if _, err := reg.GetInfo(t.Context(), &registerapi.InfoRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	return csi.NewNodeClient(dial(t, n.csiSocket)), reg, end
}

func TestAPodGetsTheAgentsSocketReadOnly(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	n := newNode(t)
	lis, err := net.Listen("unix", filepath.Join(n.agentDir, "api.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	// What the node's other namespaces see, for the container runtime is in one.
	replica := t.TempDir()
	if err := unix.Mount(filepath.Dir(n.podsDir), replica, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(replica, unix.MNT_DETACH) })
	client, _, end := start(t, n)
	for range 2 { // the second time nothing happens
		if _, err := client.NodePublishVolume(t.Context(), asked(n.target)); err != nil {
			t.Fatal(err)
		}
	}
	seen := strings.Replace(n.target, filepath.Dir(n.podsDir), replica, 1)
	for _, dir := range []string{n.target, seen} {
		if err := dialIn(dir); err != nil {
			t.Fatalf("the agent is not to be reached: %v", err)
		}
		if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s is not read-only: %v", dir, err)
		}
	}
	if got := mountsAt(t, n.target); got != 1 {
		t.Errorf("%d mounts, want 1", got)
	}
	for range 2 {
		if _, err := client.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: "csi-5f0c", TargetPath: n.target}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(n.target); !errors.Is(err, os.ErrNotExist) || mountsAt(t, n.target) != 0 {
		t.Errorf("something is left: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(n.agentDir, "api.sock")); err != nil {
		t.Errorf("the agent's socket is gone: %v", err)
	}
	if err := end(); err != nil {
		t.Errorf("at the end: %v", err)
	}
}

// dialIn connects by a name that leaves room in the 108 bytes of a socket's.
func dialIn(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	conn, err := net.Dial("unix", fmt.Sprintf("/proc/self/fd/%d/api.sock", f.Fd()))
	if err != nil {
		return err
	}
	return conn.Close()
}

func mountsAt(t *testing.T, path string) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), " "+path+" ")
}

func TestWhatLeadsElsewhereIsNotMountedOver(t *testing.T) {
	if !inMountNamespace(t) {
		return
	}
	n := newNode(t)
	client, _, _ := start(t, n)
	elsewhere := t.TempDir()
	want := func(name string, code codes.Code) {
		t.Helper()
		_, err := client.NodePublishVolume(t.Context(), asked(n.target))
		if status.Code(err) != code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Symlink(elsewhere, n.target); err != nil {
		t.Fatal(err)
	}
	want("the target is a link", codes.InvalidArgument)
	if err := os.Remove(n.target); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(n.target, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("other", n.target, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	want("something else is mounted", codes.InvalidArgument)
	if err := unix.Unmount(n.target, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(n.agentDir); err != nil {
		t.Fatal(err)
	}
	want("no agent yet", codes.Unavailable)
	if err := os.Mkdir(n.agentDir, 0o750); err != nil {
		t.Fatal(err)
	}
	want("the agent is there", codes.OK)
	if left, err := os.ReadDir(elsewhere); err != nil || len(left) > 0 || mountsAt(t, elsewhere) > 0 {
		t.Errorf("something was done where the link leads: %v %v", left, err)
	}
	if _, err := client.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: "a", TargetPath: elsewhere}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("unmounting elsewhere: %v", err)
	}
}

func TestTheKubeletIsToldWhereTheDriverIs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := node{options: options{node: "factory", agentDir: dir, podsDir: dir, csiSocket: filepath.Join(dir, "p", "csi.sock"), registration: filepath.Join(dir, "r")}}
	// A socket of an earlier run is in the way of neither.
	if err := os.MkdirAll(n.registration, 0o750); err != nil {
		t.Fatal(err)
	}
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(n.registration, "csi.spiffe.io-reg.sock")})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	_ = old.Close()
	client, reg, end := start(t, n)
	info, err := reg.GetInfo(t.Context(), &registerapi.InfoRequest{})
	if err != nil || info.GetType() != "CSIPlugin" || info.GetName() != "csi.spiffe.io" || info.GetEndpoint() != n.csiSocket || fmt.Sprint(info.GetSupportedVersions()) != "[1.0.0]" {
		t.Errorf("registration: %v %v", info, err)
	}
	if got, err := client.NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{}); err != nil || got.GetNodeId() != "factory" {
		t.Errorf("node: %v %v", got, err)
	}
	if _, err := reg.NotifyRegistrationStatus(t.Context(), &registerapi.RegistrationStatus{PluginRegistered: true}); err != nil {
		t.Error(err)
	}
	_, _ = reg.NotifyRegistrationStatus(t.Context(), &registerapi.RegistrationStatus{Error: "no"}) // the answer may be cut off
	if err := end(); !errors.Is(err, errNotRegistered) {
		t.Errorf("turned away by the kubelet: %v", err)
	}
}

func TestAFileIsNotTakenForAStaleSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "csi.sock")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := serve(t.Context(), path, func(grpc.ServiceRegistrar) {}); err == nil {
		t.Error("accepted")
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Error("the file is gone")
	}
}
