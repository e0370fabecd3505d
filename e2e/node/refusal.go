package node

import (
	"errors"
	"fmt"
	"strings"
)

// Refusal is a definite no to a machine, a folder or a wish: it stays one until
// that is changed. Any other error means that it could not be told.
type Refusal struct {
	// Reason stays the same from version to version: group/word.
	Reason string
	// Detail says what was found, Hint what would mend it.
	Detail, Hint string
}

// Error is one line.
func (r *Refusal) Error() string {
	return fmt.Sprintf("refused: %s: %s; to mend it: %s", r.Reason, r.Detail, r.Hint)
}

// The reasons of a [Refusal].
const (
	reasonRoot      = "machine/not-root"
	reasonKernel    = "machine/kernel"
	reasonPrograms  = "machine/programs"
	reasonCompiler  = "machine/compiler"
	reasonMemory    = "machine/memory"
	reasonHosts     = "machine/hosts"
	reasonCache     = "machine/cache"
	reasonCgroups   = "cgroup/controllers"
	reasonReadOnly  = "cgroup/read-only"
	reasonOccupied  = "cgroup/occupied"
	reasonSpaces    = "kernel/namespaces"
	reasonBridge    = "kernel/bridge"
	reasonVeth      = "kernel/veth"
	reasonNetfilter = "kernel/br-netfilter"
	reasonTables    = "kernel/nf-tables"
	reasonOverlay   = "kernel/overlay"
	reasonHidden    = "folder/hidden"
	reasonDisk      = "folder/disk"
	reasonBuilding  = "machine/disk"
	reasonUnfit     = "folder/file-system"
	reasonRunning   = "folder/running"
	reasonPort      = "options/port"
)

// hints says for each reason what would mend it.
func hints() map[string]string {
	return map[string]string{
		reasonRoot:      "run it with sudo: a node has network and mount namespaces of its own, which only root makes",
		reasonKernel:    "run a kernel that is newer: kube-proxy wants nftables as it is from 5.13 on",
		reasonPrograms:  "install what is missing: nft is in the package nftables, mount and umount are in mount or util-linux",
		reasonCompiler:  "install gcc, libc6-dev, pkg-config and libseccomp-dev: runc and the SPIRE server have C in them",
		reasonMemory:    "end what takes memory, or take a machine with more",
		reasonHosts:     "make an empty /etc/hosts: the node puts its own names over it, which takes a file",
		reasonCache:     "set MILLWRIGHT_CACHE to a folder below none of these: the node has files of its own there",
		reasonCgroups:   "mount the control groups, or switch the controllers on (kernel parameter cgroup_enable=…): pods cannot be limited without",
		reasonReadOnly:  "mount /sys/fs/cgroup for writing: in a container, it takes one that is privileged",
		reasonOccupied:  "move these processes into a group below it, as an init does: a group with processes cannot pass controllers on",
		reasonSpaces:    "allow root to make namespaces: user.max_net_namespaces and user.max_mnt_namespaces above 0; in a container, CAP_SYS_ADMIN",
		reasonBridge:    "modprobe bridge (CONFIG_BRIDGE): pods are plugged into one",
		reasonVeth:      "modprobe veth (CONFIG_VETH): it is what pods are plugged in with",
		reasonNetfilter: "modprobe br_netfilter (CONFIG_BRIDGE_NETFILTER): the jail of builds cannot see what passes the bridge without",
		reasonTables:    "modprobe nf_tables nft_chain_nat nft_masq nft_numgen nft_fib_inet nft_reject_inet nft_ct (CONFIG_NF_TABLES and CONFIG_NFT_… of these names), and nft 1.0.1 or newer",
		reasonOverlay:   "modprobe overlay (CONFIG_OVERLAY_FS): the files of containers are put together with it",
		reasonHidden:    "choose another folder: the node has files of its own there, and would not find these",
		reasonDisk:      "make room, or choose another folder: the kubelet evicts pods when there is little left",
		reasonBuilding:  "make room, or set MILLWRIGHT_CACHE, GOMODCACHE and GOCACHE to folders on a larger disk; go clean -cache gives back most of it afterwards",
		reasonUnfit:     "choose a folder on ext4, xfs or btrfs that is mounted for writing and for programs",
		reasonRunning:   "end that node first, or choose another folder",
		reasonPort:      "choose another port of the node for that server",
	}
}

func refuse(reason, format string, args ...any) error {
	detail := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	return &Refusal{Reason: reason, Detail: detail, Hint: hints()[reason]}
}

// Refusals are all that are in an error, which may be several at once.
func Refusals(err error) []*Refusal {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*Refusal
		for _, e := range several.Unwrap() {
			all = append(all, Refusals(e)...)
		}
		return all
	}
	var r *Refusal
	if errors.As(err, &r) {
		return []*Refusal{r}
	}
	return nil
}
