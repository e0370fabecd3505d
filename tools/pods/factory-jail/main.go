// Command factory-jail is a chained CNI plugin that shuts a pod in before the
// first of its containers starts.
//
// A NetworkPolicy comes into force some time after a pod has started, in which
// a build can say all it wants to say. This plugin is part of the pod's birth:
// it writes the pod's address into a set of the table inet millwright_jail, and
// any failure means that the pod does not start.
//
// Its configuration names the namespaces that are jailed, and the classes that
// a pod may ask for there with the annotation millwright.dev/egress:
//
//	{"type": "factory-jail",
//	 "capabilities": {"io.kubernetes.cri.pod-annotations": true},
//	 "jailed": {"build-sample": ["none", "registry", "git"]}}
//
// No annotation, an unknown class, or one that the namespace does not have, all
// mean none: nothing at all. Pods of other namespaces are left alone.
//
// An element of a set carries the container's id as its comment. It is removed
// by that, never by the address, which may be another pod's by then.
//
// The table is not made by the plugin, but by whoever starts the node:
//
//	factory-jail table -node-ip … -dns … | nft -f -
package main

import (
	"fmt"
	"os"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/version"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

func main() {
	// The runtime gives its orders by the environment, and no arguments.
	if len(os.Args) > 1 {
		os.Exit(refusal.Exit(os.Stderr, "factory-jail", command(os.Args[1:])))
	}
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Del: del, Check: check, GC: collect, Status: status},
		version.All, "factory-jail: shuts pods in before they start")
}

func command(args []string) error {
	if args[0] != "table" {
		return refusal.Usage("factory-jail table [flags], or as a CNI plugin without arguments")
	}
	t, err := parseTable(args[1:], os.Stderr)
	if err != nil {
		return err
	}
	fmt.Print(t.ruleset())
	return nil
}
