package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// settings are the files that the node's programs read.
//
// containerd: machines without CAP_SYS_RESOURCE cannot lower an OOM score; the
// image of the sandbox is kept by name; what would be in /opt is not the machine's.
// kubelet: images are never collected, since the registry of the floor is small
// and its disk is the machine's; the folder of plugins would be below /usr.
// kube-proxy: the machine's own connection tracking is left as it is.
var settings = map[string]string{
	"containerd.toml": `version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri"]
[plugins.'io.containerd.internal.v1.opt']
  path = "/var/lib/containerd/opt"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = [{{quote .Run "/cni-bin"}}]
    conf_dir = {{quote .Run "/cni"}}
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = {{quote .Runc}}
      SystemdCgroup = false
[plugins.'io.containerd.cri.v1.images']
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = {{quote .Pause}}
  [plugins.'io.containerd.cri.v1.images'.registry]
    config_path = {{quote .Run "/certs.d"}}
`,
	"certs.d/{{.Registry}}/hosts.toml": `server = "http://{{.Registry}}"
[host."http://{{.Registry}}"]
  capabilities = ["pull", "resolve"]
`,
	"cni/10-factory.conflist": `{
  "cniVersion": "1.0.0",
  "name": "factory",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true, "hairpinMode": true, "mtu": 1500,
     "ipam": {"type": "host-local", "dataDir": "/run/cni-addresses", "ranges": [[{"subnet": "{{.PodCIDR}}"}]]}},
    {"type": "factory-jail", "capabilities": {"io.kubernetes.cri.pod-annotations": true}, "jailed": {{.Jailed}}}
  ]
}
`,
	"kubelet.yaml": `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: {{quote .PKI "/ca.crt"}}}
authorization: {mode: Webhook}
tlsCertFile: {{quote .PKI "/kubelet.crt"}}
tlsPrivateKeyFile: {{quote .PKI "/kubelet.key"}}
clusterDomain: cluster.local
clusterDNS: [{{.DNS}}]
resolvConf: /etc/resolv.conf
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: {{.Cgroup}}
failCgroupV1: false
failSwapOn: false
volumePluginDir: /var/lib/kubelet/volume-plugins
protectKernelDefaults: true
seccompDefault: true
podPidsLimit: 4096
serializeImagePulls: false
registryPullQPS: 0
eventRecordQPS: 0
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 200Mi, nodefs.available: 1Gi, imagefs.available: 1Gi}
`,
	"kube-proxy.yaml": `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: {{.PodCIDR}}
clientConnection: {kubeconfig: {{quote .PKI "/kube-proxy.kubeconfig"}}}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
`,
}

func writeSettings(f floor) error {
	run := filepath.Join(f.Dir, "run")
	jailed, err := f.jailed()
	if err != nil {
		return err
	}
	values := map[string]string{
		"Jailed": jailed,
		"Run":    run, "PKI": filepath.Join(f.Dir, "pki"), "Cgroup": f.Cgroup, "Pause": f.Pause, "Runc": f.Programs["runc"],
		"Registry": Registry, "PodCIDR": PodCIDR, "DNS": DNS,
	}
	for name, text := range settings {
		path, err := fill(name, values)
		if err != nil {
			return err
		}
		content, err := fill(text, values)
		if err != nil {
			return err
		}
		path = filepath.Join(run, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			return err
		}
	}
	plugins := filepath.Join(run, "cni-bin")
	if err := os.MkdirAll(plugins, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"bridge", "host-local", "loopback", "factory-jail"} {
		if err := os.Symlink(f.Programs[name], filepath.Join(plugins, name)); err != nil {
			return err
		}
	}
	return nil
}

func fill(text string, values map[string]string) (string, error) {
	t, err := template.New("").Option("missingkey=error").Funcs(template.FuncMap{"quote": quote}).Parse(text)
	if err != nil {
		return "", fmt.Errorf("the node's own settings: %w", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, values); err != nil {
		return "", fmt.Errorf("the node's own settings: %w", err)
	}
	return b.String(), nil
}

// quote writes text, of which a part comes from outside, as a string of JSON,
// which is one of YAML and TOML too.
func quote(parts ...string) (string, error) {
	b, err := json.Marshal(strings.Join(parts, ""))
	return string(b), err
}
