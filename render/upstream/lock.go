package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"golang.org/x/mod/module"
	"sigs.k8s.io/yaml"
)

const (
	apiVersion = "millwright.dev/v1alpha1"
	kind       = "UpstreamLock"
)

// Lock is the content of an upstream.lock.
type Lock struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Metadata `json:"metadata"`
	Spec       Spec     `json:"spec"`
}

// Metadata names the component; it must be the name of its directory.
type Metadata struct {
	Name string `json:"name"`
}

// Spec pins a module and the files taken from it.
type Spec struct {
	Module  string `json:"module"`
	Version string `json:"version"`
	// Sum and GoModSum are the h1: hashes of the zip and of its go.mod.
	Sum      string `json:"sum"`
	GoModSum string `json:"goModSum"`
	Files    []File `json:"files"`
}

// File is one file taken: where it is in the module, where it goes under
// upstream/, and what it must be.
type File struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

var (
	label     = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	h1        = regexp.MustCompile(`^h1:[A-Za-z0-9+/]{43}=$`)
	hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)
	// plain is stricter than what a file system allows: the names appear in
	// kustomizations, in reports and on other people's file systems.
	plain = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)
)

// DecodeLock reads the lock of the named component strictly: unknown and
// duplicate fields, further documents and unsafe paths are refused.
// The error is a *Refusal.
func DecodeLock(component string, data []byte) (Lock, error) {
	l, err := decode(component, data)
	if err != nil {
		return Lock{}, err
	}
	if err := l.checkPins(); err != nil {
		return Lock{}, err
	}
	return l, nil
}

// decode checks all but the pins, which an update is about to write.
func decode(component string, data []byte) (Lock, error) {
	var l Lock
	if len(data) > maxLockBytes {
		return l, lockRefusal(component, "", "upstream/lock-size", fmt.Sprintf("keep the lock under %d bytes", maxLockBytes))
	}
	if bytes.Contains(data, []byte("\n---")) {
		return l, lockRefusal(component, "", "upstream/lock-documents", "keep one document per lock")
	}
	if err := yaml.UnmarshalStrict(data, &l); err != nil {
		return l, lockRefusal(component, "", "upstream/lock-syntax", "mend the lock: "+oneLine(err))
	}
	if err := l.check(component); err != nil {
		return l, err
	}
	return l, nil
}

func (l Lock) check(component string) error {
	bad := func(hint string) error {
		return lockRefusal(component, "", "upstream/lock-field", hint)
	}
	switch {
	case l.APIVersion != apiVersion || l.Kind != kind:
		return bad(fmt.Sprintf("the lock must be of apiVersion %s and kind %s", apiVersion, kind))
	case l.Metadata.Name != component || !label.MatchString(component):
		return bad("metadata.name must be the name of the component's directory, a DNS label")
	case len(l.Spec.Files) == 0 || len(l.Spec.Files) > maxFiles:
		return bad(fmt.Sprintf("spec.files must list 1 to %d files", maxFiles))
	}
	if err := module.Check(l.Spec.Module, l.Spec.Version); err != nil {
		return bad("spec.module and spec.version must be those of a Go module: " + oneLine(err))
	}
	return l.checkPaths()
}

// checkPaths keeps a lock from reaching outside its module and its directory.
func (l Lock) checkPaths() error {
	from, to := map[string]bool{}, map[string]bool{}
	for _, f := range l.Spec.Files {
		for _, p := range []string{f.From, f.To} {
			if err := checkPath(p); err != nil {
				return lockRefusal(l.Metadata.Name, p, "upstream/path", err.Error())
			}
		}
		// Folded, since two targets that differ in case only are one file on
		// some file systems.
		key := strings.ToLower(f.To)
		if from[f.From] || to[key] {
			return lockRefusal(l.Metadata.Name, f.From, "upstream/path-twice", "list each file and each target once")
		}
		from[f.From], to[key] = true, true
	}
	for t := range to {
		for dir := path.Dir(t); dir != "."; dir = path.Dir(dir) {
			if to[dir] {
				return lockRefusal(l.Metadata.Name, dir, "upstream/path-twice", "a target is the directory of another one")
			}
		}
	}
	return nil
}

func checkPath(p string) error {
	if !fs.ValidPath(p) || p == "." || len(p) > 240 {
		return errors.New("use a clean relative path with slashes")
	}
	for elem := range strings.SplitSeq(p, "/") {
		if !plain.MatchString(elem) {
			return errors.New("use letters, digits, '.', '_' and '-' in names, and no leading '.' or '-'")
		}
	}
	return nil
}

func (l Lock) checkPins() error {
	for _, s := range []string{l.Spec.Sum, l.Spec.GoModSum} {
		if !h1.MatchString(s) {
			return lockRefusal(l.Metadata.Name, "", "upstream/lock-field", "spec.sum and spec.goModSum must be h1: hashes as in go.sum")
		}
	}
	var total int64
	for _, f := range l.Spec.Files {
		if !hexDigest.MatchString(f.SHA256) {
			return lockRefusal(l.Metadata.Name, f.From, "upstream/lock-field", "sha256 must be 64 lower-case hex digits")
		}
		if f.Size < 0 || f.Size > maxFileBytes {
			return lockRefusal(l.Metadata.Name, f.From, "upstream/lock-field", fmt.Sprintf("size must be at most %d", maxFileBytes))
		}
		total += f.Size
	}
	if total > maxTotalBytes {
		return lockRefusal(l.Metadata.Name, "", "upstream/lock-field", fmt.Sprintf("the files must have at most %d bytes together", maxTotalBytes))
	}
	return nil
}

// encode writes the lock in its one form, so that a diff shows pins only.
func (l Lock) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Written by millwright vendor --update; checked by millwright vendor.\n")
	fmt.Fprintf(&b, "apiVersion: %s\nkind: %s\nmetadata:\n  name: %s\nspec:\n", l.APIVersion, l.Kind, l.Metadata.Name)
	fmt.Fprintf(&b, "  module: %s\n  version: %s\n  sum: %s\n  goModSum: %s\n  files:\n",
		l.Spec.Module, l.Spec.Version, l.Spec.Sum, l.Spec.GoModSum)
	for _, f := range l.Spec.Files {
		fmt.Fprintf(&b, "  - from: %s\n    to: %s\n    size: %d\n    sha256: %q\n", f.From, f.To, f.Size, f.SHA256)
	}
	return b.Bytes()
}

func lockRefusal(component, file, code, hint string) error {
	return &Refusal{Reason: ReasonLock, Code: code, Component: component, File: file, Hint: hint}
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
