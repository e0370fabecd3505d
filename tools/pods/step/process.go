package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// check is something about the process that has to be so.
type check struct {
	Name string `json:"name"`
	Seen string `json:"seen"`
	OK   bool   `json:"ok"`
}

// What must not be there: a token of a service account, and the socket by which
// an identity is to be had.
var forbiddenPaths = []string{
	"var/run/secrets/kubernetes.io", "run/secrets/kubernetes.io",
	"spiffe", "spiffe-workload-api", "run/spire", "tmp/spire-agent",
}

// checkProcess looks at this process as the kernel sees it. What cannot be read
// is not all right. The root is / but for tests.
func checkProcess(root string, environ []string) []check {
	status, _ := os.ReadFile(filepath.Join(root, "proc/self/status"))
	fields := map[string]string{}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		fields[key] = strings.TrimSpace(value)
	}
	ids := strings.Fields(fields["Uid"])
	checks := []check{
		{"uid", strings.Join(ids, " "), len(ids) == 4 && !slices.Contains(ids, "0")},
		{"no new privileges", fields["NoNewPrivs"], fields["NoNewPrivs"] == "1"},
		{"seccomp", fields["Seccomp"], fields["Seccomp"] == "2"},
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		checks = append(checks, check{set, fields[set], fields[set] != "" && strings.Trim(fields[set], "0") == ""})
	}
	found := ""
	for _, path := range forbiddenPaths {
		if _, err := os.Lstat(filepath.Join(root, path)); !os.IsNotExist(err) {
			found = "/" + path
		}
	}
	checks = append(checks, check{"no token, no socket", found, found == ""})
	return append(checks, checkMounts(root), checkEnvironment(environ))
}

// checkMounts finds an identity that is mounted under another name.
func checkMounts(root string) check {
	c := check{Name: "no mount of an identity"}
	mounts, err := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	for _, word := range []string{"spire", "spiffe", "serviceaccount"} {
		if bytes.Contains(bytes.ToLower(mounts), []byte(word)) {
			c.Seen = word
		}
	}
	c.OK = err == nil && len(mounts) > 0 && c.Seen == ""
	return c
}

func checkEnvironment(environ []string) check {
	c := check{Name: "no identity in the environment", OK: true}
	for _, kv := range environ {
		if strings.HasPrefix(kv, "SPIFFE_") || strings.HasPrefix(kv, "SPIRE_") {
			c.Seen, _, _ = strings.Cut(kv, "=")
			c.OK = false
		}
	}
	return c
}
