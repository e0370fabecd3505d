package node

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// odd is a name of a folder with everything in it that ends a string somewhere.
const odd = `it's a {folder}, #1: "x" 'y' \z`

func TestSettingsAreWhatTheirProgramsRead(t *testing.T) {
	t.Parallel()
	f := floor{Dir: filepath.Join(t.TempDir(), odd), Cgroup: "/g", Pause: "registry/pause", Jail: Jail{Namespaces: []string{"b", "a"}}, Programs: map[string]string{}}
	for _, name := range Programs() {
		f.Programs[name] = "/bin/" + name
	}
	run := filepath.Join(f.Dir, "run")
	if err := os.MkdirAll(run, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeSettings(f); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(run, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var kubelet struct {
		CgroupRoot, TLSCertFile string
		Authentication          struct{ X509 struct{ ClientCAFile string } }
	}
	if err := yaml.Unmarshal(read("kubelet.yaml"), &kubelet); err != nil || kubelet.CgroupRoot != "/g" ||
		kubelet.TLSCertFile != filepath.Join(f.Dir, "pki", "kubelet.crt") || kubelet.Authentication.X509.ClientCAFile != filepath.Join(f.Dir, "pki", "ca.crt") {
		t.Errorf("kubelet: %+v, %v", kubelet, err)
	}
	var proxy struct{ ClientConnection struct{ Kubeconfig string } }
	if err := yaml.Unmarshal(read("kube-proxy.yaml"), &proxy); err != nil || proxy.ClientConnection.Kubeconfig != filepath.Join(f.Dir, "pki", "kube-proxy.kubeconfig") {
		t.Errorf("kube-proxy: %+v, %v", proxy, err)
	}
	var cni struct {
		Plugins []struct {
			Type   string
			Jailed map[string][]string
		}
	}
	if err := json.Unmarshal(read("cni/10-factory.conflist"), &cni); err != nil || len(cni.Plugins) != 2 || len(cni.Plugins[1].Jailed) != 2 {
		t.Errorf("cni: %+v, %v", cni, err)
	}
	// What containerd reads is read by it in the tests that start a node; here, that
	// each setting is a string to its end.
	for line := range strings.Lines(string(read("containerd.toml"))) {
		_, value, ok := strings.Cut(line, " = ")
		value = strings.Trim(value, "[]\n")
		var text string
		if ok && strings.HasPrefix(value, `"`) && json.Unmarshal([]byte(value), &text) != nil {
			t.Errorf("no string: %s", line)
		}
	}
	onlyForTheOwner(t, f.Dir)
}

func TestKeysAreForTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	admin, err := writeAccess(dir, "https://127.0.0.1:1", now)
	if err != nil {
		t.Fatal(err)
	}
	keep := func() map[string]string {
		files := map[string]string{}
		for _, name := range []string{"ca.crt", "ca.key", "service-accounts.key"} {
			b, err := os.ReadFile(filepath.Join(dir, "pki", name))
			if err != nil {
				t.Fatal(err)
			}
			files[name] = string(b)
		}
		return files
	}
	before := keep()
	if _, err := writeAccess(dir, "https://127.0.0.1:2", now.AddDate(0, 1, 0)); err != nil {
		t.Fatal(err)
	}
	for name, content := range keep() {
		if before[name] != content {
			t.Errorf("%s is another one when it is started again", name)
		}
	}
	if admin.url != "https://127.0.0.1:1" {
		t.Errorf("access is to %s", admin.url)
	}
	onlyForTheOwner(t, dir)
}

func onlyForTheOwner(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir || d.Type() == fs.ModeSymlink {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
