package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ability is something that a node takes of the kernel, and how one finds out
// whether it has it: by doing it, since a module need not be loaded before.
type ability struct {
	reason string
	try    func() error
}

// abilities are tried in network and mount namespaces of their own.
func abilities() []ability {
	return []ability{
		{reasonBridge, func() error {
			return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "try0"}})
		}},
		{reasonVeth, func() error {
			return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "try1"}, PeerName: "try2"})
		}},
		{reasonNetfilter, func() error { return exists("/proc/sys/net/bridge/bridge-nf-call-iptables") }},
		{reasonTables, tryTables},
		{reasonOverlay, tryOverlay},
	}
}

// tryKernel refuses a kernel for each ability that it does not have.
func tryKernel() error {
	var found []error
	err := apart(func() {
		for _, a := range abilities() {
			if err := a.try(); err != nil {
				found = append(found, refuse(a.reason, "%v", err))
			}
		}
	})
	if err != nil {
		return refuse(reasonSpaces, "%v", err)
	}
	return errors.Join(found...)
}

// apart does something in namespaces that end with it, and in which nothing else
// of this program ever runs: the thread is not given back. It cannot be the main
// thread, which the runtime keeps, with its namespaces, until the program ends.
func apart(do func()) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			result <- apart(do) // on another one: this one is taken
			runtime.UnlockOSThread()
			return
		}
		if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS); err != nil {
			result <- fmt.Errorf("making namespaces: %w", err)
			return
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			result <- fmt.Errorf("making mounts private: %w", err)
			return
		}
		do()
		result <- nil
	}()
	return <-result
}

// tables has a rule of each kind that kube-proxy and the jail write.
const tables = `table inet try {
	set pods { type ipv4_addr; flags interval; }
	map services { type ipv4_addr . inet_proto . inet_service : verdict; }
	chain nat { type nat hook postrouting priority 100; masquerade; }
	chain to { type nat hook prerouting priority -100; ip daddr . meta l4proto . th dport vmap @services; ip daddr 198.19.0.1 tcp dport 1 dnat ip to 198.18.0.1:1; }
	chain any { numgen random mod 2 vmap { 0 : accept, 1 : return }; }
	chain forward { type filter hook forward priority 0; ct state established accept; fib daddr type local accept; ip saddr @pods reject; }
}
`

func tryTables() error {
	var m machine
	m.root = "/"
	program := m.find("nft")
	if program == "" {
		return errors.New("there is no nft to try it with")
	}
	version, err := exec.Command(program, "--version").Output()
	if err != nil {
		return fmt.Errorf("asking nft for its version: %w", err)
	}
	if !fitsProxy(string(version)) {
		return fmt.Errorf("nft is too old: %s", version)
	}
	load := exec.Command(program, "-f", "-")
	load.Stdin = strings.NewReader(tables)
	if out, err := load.CombinedOutput(); err != nil {
		first, _, _ := strings.Cut(string(out), "\n")
		return fmt.Errorf("nft: %w: %s", err, first)
	}
	return nil
}

// fitsProxy says whether kube-proxy takes nft of that version ("nftables v1.0.6 (…)").
func fitsProxy(version string) bool {
	var major, minor, patch int
	n, _ := fmt.Sscanf(version, "nftables v%d.%d.%d", &major, &minor, &patch)
	return n == 3 && (major > 1 || major == 1 && (minor > 0 || patch >= 1))
}

// tryOverlay puts one together on a memory file system over /run, which nobody
// else sees.
func tryOverlay() error {
	const at = "/run"
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, "mode=700"); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(at, name), 0o700); err != nil {
			return err
		}
	}
	return unix.Mount("overlay", at+"/merged", "overlay", 0, "lowerdir="+at+"/lower,upperdir="+at+"/upper,workdir="+at+"/work")
}
