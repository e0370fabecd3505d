package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

func files() []attempt {
	var all []attempt
	for _, name := range []string{"source", "deps", "out", "meta"} {
		all = append(all, attempt{"write to the workspace " + name, func() (string, string) { return writable("/workspace/" + name) }})
	}
	return append(all,
		attempt{"write to the image", func() (string, string) { return writable("/", "/app", "/usr/local/go", "/usr/local/go/pkg/tool") }},
		attempt{"write the pod's own settings", func() (string, string) {
			var there []string
			for _, name := range []string{"/etc/hosts", "/etc/resolv.conf", "/etc/hostname"} {
				if f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0); err == nil {
					_ = f.Close()
					there = append(there, name)
				}
			}
			return verdict(there, "none opens")
		}},
		attempt{"links out of the tree", links},
		attempt{"programs that give rights", func() (string, string) {
			return verdict(tree().setuid, "none of "+plural(tree().seen, "file", "files"))
		}},
	)
}

// writable tries to make a file in a folder, to open one that is there, and to
// change who may.
func writable(folders ...string) (outcome, text string) {
	var there, why []string
	for _, folder := range folders {
		if _, err := os.Stat(folder); err != nil {
			why = append(why, folder+" is not there")
			continue
		}
		name := filepath.Join(folder, "hostile-was-here")
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			_ = f.Close()
			_ = os.Remove(name)
			there = append(there, folder)
			continue
		}
		why = append(why, err.Error())
		if os.Chmod(folder, 0o777) == nil { //nolint:gosec // it must not be possible
			there = append(there, "the mode of "+folder)
		}
		if entries, err := os.ReadDir(folder); err == nil {
			for _, e := range entries {
				if f, err := os.OpenFile(filepath.Join(folder, e.Name()), os.O_WRONLY|os.O_APPEND, 0); err == nil {
					_ = f.Close()
					there = append(there, filepath.Join(folder, e.Name()))
				}
			}
		}
	}
	return verdict(there, strings.Join(why, ", "))
}

// links are made where one may write, since a commit that has one is not cloned, and
// followed: to tokens, and through processes to other file systems.
func links() (outcome, text string) {
	dir, err := os.MkdirTemp("", "links")
	if err != nil {
		return nothing, err.Error()
	}
	defer os.RemoveAll(dir)
	var here syscall.Stat_t
	if err := syscall.Stat("/", &here); err != nil {
		return nothing, err.Error()
	}
	var there []string
	tried := 0
	try := func(target string, root bool) {
		tried++
		link := filepath.Join(dir, plural(tried, "link", "links"))
		if os.Symlink(target, link) != nil {
			return
		}
		var st syscall.Stat_t
		if syscall.Stat(link, &st) == nil && (!root || st.Dev != here.Dev || st.Ino != here.Ino) {
			there = append(there, target)
		}
	}
	try("/var/run/secrets/kubernetes.io/serviceaccount", false)
	try("/run/spire", false)
	try("/spiffe", false)
	for _, pid := range pids() {
		try("/proc/"+pid+"/root", true)
	}
	return verdict(there, plural(tried, "link leads", "links lead")+" nowhere")
}
