package main

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

func secrets() []attempt {
	return []attempt{
		{"environment", environment},
		{"token files", func() (string, string) {
			return verdict(tree().tokens, "no file in the file system is called like one")
		}},
		{"credentials of clouds and clients", credentials},
		{"sockets in files", func() (string, string) { return verdict(tree().sockets, "the file system has no socket") }},
		{"sockets by name", namedSockets},
		{"mounts of an identity", mountsOfIdentity},
	}
}

var secretName = regexp.MustCompile(`(?i)(TOKEN|SECRET|PASSW|CREDENTIAL|_KEY$|^SPIFFE_|^SPIRE_|^AWS_|^GOOGLE_|^AZURE_|^DOCKER_|KUBECONFIG)`)

// names are of the variables that look like a secret, of this process and of all
// others that tell.
func environment() (outcome, text string) {
	var names []string
	look := func(environ []string) {
		for _, kv := range environ {
			if name, _, _ := strings.Cut(kv, "="); secretName.MatchString(name) {
				names = append(names, name)
			}
		}
	}
	look(os.Environ())
	read := 0
	for _, pid := range pids() {
		if b, err := os.ReadFile(filepath.Join("/proc", pid, "environ")); err == nil {
			read++
			look(strings.Split(string(b), "\x00"))
		}
	}
	return verdict(names, "read of "+plural(read, "process", "processes"))
}

// credentials are where clients and clouds keep theirs; "*" is any name.
func credentials() (outcome, text string) {
	var there []string
	places := []string{
		"/var/run/secrets/*", "/run/secrets/*", "/etc/kubernetes/*", "/var/lib/kubelet/*", "/etc/rancher/*", "/run/cloud-init/*", "/var/lib/cloud/*",
		"/run/containerd/*", "/run/docker.sock", "/var/run/docker.sock", "/run/crio/*", "/etc/docker/key.json", "/etc/shadow", "/etc/gitconfig",
	}
	for _, home := range []string{"/root", "/tmp", "/home/*", "/tekton/home", "/tekton/creds"} {
		for _, name := range []string{".docker/config.json", ".aws/credentials", ".config/gcloud/*", ".azure/*", ".kube/config", ".ssh/id_*", ".netrc", ".git-credentials", ".gitconfig"} {
			places = append(places, home+"/"+name)
		}
	}
	for _, place := range places {
		names, _ := filepath.Glob(place)
		there = append(there, names...)
	}
	return verdict(there, "none in "+plural(len(places), "place", "places"))
}

// namedSockets are those of this network that have a name and no file.
func namedSockets() (outcome, text string) {
	b, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nothing, err.Error()
	}
	var there []string
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 8 || f[0] == "Num" {
			continue
		}
		there = append(there, f[7])
		if conn, err := net.DialTimeout("unix", f[7], time.Second); err == nil {
			_ = conn.Close()
			there[len(there)-1] += ", who answers"
		}
	}
	return verdict(there, "there are none")
}

func mountsOfIdentity() (outcome, text string) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nothing, err.Error()
	}
	var there []string
	lines := 0
	for line := range strings.Lines(string(b)) {
		lines++
		lower := strings.ToLower(line)
		if strings.Contains(lower, "spire") || strings.Contains(lower, "spiffe") || strings.Contains(lower, "serviceaccount") || strings.Contains(lower, "kube-api-access") {
			there = append(there, strings.Fields(line)[4])
		}
	}
	return verdict(there, "none of "+plural(lines, "mount", "mounts"))
}

// things are what a walk through all files finds.
type things struct {
	tokens, sockets, setuid, devices []string
	seen                             int
}

const walkLimit = 300_000

// tree is walked once: all but what the kernel shows of itself.
var tree = sync.OnceValue(func() things {
	var t things
	skip := []string{"/proc", "/sys", "/dev"}
	_ = filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // what is closed to us is no find
		}
		if slices.Contains(skip, path) || t.seen > walkLimit {
			return fs.SkipDir
		}
		t.seen++
		mode := d.Type()
		name := d.Name()
		switch {
		case mode&fs.ModeSocket != 0:
			t.sockets = append(t.sockets, path)
		case mode&fs.ModeDevice != 0:
			t.devices = append(t.devices, path)
		case mode.IsRegular() || mode&fs.ModeSymlink != 0:
			if name == "token" || name == "id_token" || name == "service-account-token" || name == "kubeconfig" || strings.HasPrefix(name, "id_rsa") {
				t.tokens = append(t.tokens, path)
			}
			if info, err := d.Info(); err == nil && mode.IsRegular() && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
				t.setuid = append(t.setuid, path)
			}
		}
		return nil
	})
	return t
})
