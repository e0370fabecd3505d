package node

import (
	"fmt"
	"path/filepath"
	"strings"
)

// server is one of the node's own processes.
type server struct {
	name  string
	args  []string
	path  []string // folders of programs that it runs
	ready string   // URL that answers 200 when those after it may start; empty: at once
}

func (s server) env(f floor) []string {
	var folders []string
	for _, program := range s.path {
		folders = append(folders, filepath.Dir(f.Programs[program]))
	}
	return []string{"PATH=" + strings.Join(append(folders, programPath), ":")}
}

// servers are the node's processes in the order of their start.
func (f floor) servers() []server {
	pki := func(name string) string { return filepath.Join(f.Dir, "pki", name) }
	config := func(name string) string { return filepath.Join(f.Dir, "run", name) }
	const etcd = "http://127.0.0.1:2379"
	return []server{
		{name: "containerd", args: []string{"--config", config("containerd.toml"), "--log-level", "warn"}, path: []string{"containerd-shim-runc-v2", "runc"}},
		{name: "etcd", ready: etcd + "/health", args: []string{
			"--data-dir", filepath.Join(f.Dir, "data", "etcd"), "--log-level", "warn", "--unsafe-no-fsync",
			"--listen-client-urls", etcd, "--advertise-client-urls", etcd,
			"--listen-peer-urls", "http://127.0.0.1:2380",
			"--initial-advertise-peer-urls", "http://127.0.0.1:2380", "--initial-cluster", "default=http://127.0.0.1:2380",
		}},
		// The controllers end themselves when it takes its time.
		{name: "kube-apiserver", ready: fmt.Sprintf("https://127.0.0.1:%d/readyz", apiPort), args: []string{
			"--etcd-servers=" + etcd, fmt.Sprintf("--secure-port=%d", apiPort), "--bind-address=0.0.0.0", "--advertise-address=" + IP,
			"--client-ca-file=" + pki("ca.crt"), "--tls-cert-file=" + pki("kube-apiserver.crt"), "--tls-private-key-file=" + pki("kube-apiserver.key"),
			"--service-account-key-file=" + pki("service-accounts.key"), "--service-account-signing-key-file=" + pki("service-accounts.key"),
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--service-cluster-ip-range=" + ServiceCIDR,
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
			"--kubelet-preferred-address-types=InternalIP,Hostname", "--kubelet-certificate-authority=" + pki("ca.crt"),
			"--kubelet-client-certificate=" + pki("kubelet-client.crt"), "--kubelet-client-key=" + pki("kubelet-client.key"),
		}},
		{name: "kube-controller-manager", args: []string{
			"--kubeconfig=" + pki("kube-controller-manager.kubeconfig"), "--leader-elect=false", "--bind-address=127.0.0.1",
			"--use-service-account-credentials=true", "--service-account-private-key-file=" + pki("service-accounts.key"), "--root-ca-file=" + pki("ca.crt"),
			"--cluster-signing-cert-file=" + pki("ca.crt"), "--cluster-signing-key-file=" + pki("ca.key"),
			"--service-cluster-ip-range=" + ServiceCIDR,
		}},
		{name: "kube-scheduler", args: []string{"--kubeconfig=" + pki("kube-scheduler.kubeconfig"), "--leader-elect=false", "--bind-address=127.0.0.1"}},
		{name: "kubelet", args: []string{
			"--config=" + config("kubelet.yaml"), "--kubeconfig=" + pki("kubelet.kubeconfig"), "--hostname-override=" + Name, "--node-ip=" + IP,
			"--root-dir=/var/lib/kubelet",
		}},
		{name: "kube-proxy", args: []string{"--config=" + config("kube-proxy.yaml"), "--hostname-override=" + Name}},
	}
}
