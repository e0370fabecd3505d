package main

import (
	"flag"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// tableName is the table of family inet that is all there is of the jail.
const tableName = "millwright_jail"

// The classes. Each is a set of addresses of that name.
const (
	classNone     = "none"     // nothing at all
	classRegistry = "registry" // the registry and the name server
	classGit      = "git"      // the Git server and the name server
)

var classes = []string{classNone, classRegistry, classGit}

const (
	chainFrom = "from_pods"
	chainTo   = "to_pods"
)

// Reasons of the table.
const (
	reasonAddress = "jail/address"
	reasonBridge  = "jail/bridge"
)

// peer is where a class may go.
type peer struct {
	protocol string
	addr     netip.AddrPort
}

// table is what the jail is made of.
type table struct {
	bridge string
	pods   netip.Prefix
	peers  map[string][]peer
}

var deviceName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}$`)

// parseTable reads the flags of the subcommand table.
func parseTable(args []string, out io.Writer) (table, error) {
	var t table
	flags := flag.NewFlagSet("table", flag.ContinueOnError)
	flags.StringVar(&t.bridge, "bridge", "cni0", "bridge of the pods")
	pods := flags.String("pods", "", "network of the pods, ADDRESS/BITS: what claims to come from elsewhere is dropped (required)")
	node := flags.String("node-ip", "", "address of the node (required)")
	dns := flags.String("dns", "", "ADDRESS:PORT of the name server, as pods ask it (required)")
	registryPort := flags.Uint("registry-port", 5000, "port of the registry on the node")
	gitPort := flags.Uint("git-port", 0, "port of the Git server on the node (0: there is none)")
	var allow []string
	flags.Func("allow", "CLASS=ADDRESS:PORT that a class may reach by TCP besides, as pods ask it; several times", func(s string) error {
		allow = append(allow, s)
		return nil
	})
	if err := refusal.Parse(flags, args, out); err != nil {
		return t, err
	}
	if !deviceName.MatchString(t.bridge) {
		return t, refusal.New(reasonBridge, "give the name of a network device", "bridge %q", t.bridge)
	}
	prefix, err := netip.ParsePrefix(*pods)
	if err != nil || !prefix.Addr().Is4() || prefix.Masked() != prefix {
		return t, refusal.New(reasonAddress, "write the network as 198.18.16.0/20", "network of the pods %q", *pods)
	}
	t.pods = prefix
	return t, t.addPeers(*node, *dns, []uint{*registryPort, *gitPort}, allow)
}

func (t *table) addPeers(node, dns string, ports []uint, allow []string) error {
	nodeIP, err := netip.ParseAddr(node)
	if err != nil || !nodeIP.Is4() {
		return refusal.New(reasonAddress, "write an IPv4 address", "node %q", node)
	}
	server, err := addrPort(dns)
	if err != nil {
		return err
	}
	t.peers = map[string][]peer{classNone: nil}
	for i, class := range []string{classRegistry, classGit} {
		t.peers[class] = []peer{{"udp", server}, {"tcp", server}}
		if ports[i] > 65535 {
			return refusal.New(reasonAddress, "give a port", "port %d", ports[i])
		}
		if ports[i] != 0 {
			t.peers[class] = append(t.peers[class], peer{"tcp", netip.AddrPortFrom(nodeIP, uint16(ports[i]))})
		}
	}
	for _, a := range allow {
		class, target, _ := strings.Cut(a, "=")
		addr, err := addrPort(target)
		if err != nil {
			return err
		}
		if class == classNone || !slices.Contains(classes, class) {
			return refusal.New(reasonAddress, "name the class registry or git", "%q cannot be allowed to class %q", target, class)
		}
		t.peers[class] = append(t.peers[class], peer{"tcp", addr})
	}
	return nil
}

func addrPort(s string) (netip.AddrPort, error) {
	addr, err := netip.ParseAddrPort(s)
	if err != nil || !addr.Addr().Is4() || addr.Port() == 0 {
		return addr, refusal.New(reasonAddress, "write ADDRESS:PORT with an IPv4 address", "%q", s)
	}
	return addr, nil
}

// ruleset is what nft makes the table of. It may be given any number of times:
// the rules are made anew, and who is jailed stays so.
//
// What leaves a pod is judged before anything else looks at it, connection
// tracking and services included: by the addresses that the pod itself wrote,
// and without a memory, so that no connection of an earlier pod, and none from
// outside, opens a way. What arrives is judged last, when an answer has the
// address again that was asked.
//
// IPv6 is no part of this cluster, but each pod has a link-local address, and
// the node's kubelet would answer there: it is dropped for all pods.
func (t table) ruleset() string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	rule := func(chain, format string, args ...any) {
		say("add rule inet %s %s %s", tableName, chain, fmt.Sprintf(format, args...))
	}
	say("add table inet %s", tableName)
	for _, class := range classes {
		say("add set inet %s %s { type ipv4_addr; }", tableName, class)
		for _, direction := range []string{"from_", "to_"} {
			say("add chain inet %s %s", tableName, direction+class)
			say("flush chain inet %s %s", tableName, direction+class)
		}
	}
	say("add chain inet %s %s { type filter hook prerouting priority -300; policy accept; }", tableName, chainFrom)
	say("flush chain inet %s %s", tableName, chainFrom)
	say("add chain inet %s %s { type filter hook postrouting priority 300; policy accept; }", tableName, chainTo)
	say("flush chain inet %s %s", tableName, chainTo)
	rule(chainFrom, "iifname %q meta nfproto ipv6 drop", t.bridge)
	rule(chainFrom, "iifname %q ip saddr != %s drop", t.bridge, t.pods)
	rule(chainTo, "oifname %q meta nfproto ipv6 drop", t.bridge)
	for _, class := range classes {
		rule(chainFrom, "ip saddr @%s goto from_%s", class, class)
		rule(chainTo, "ip daddr @%s goto to_%s", class, class)
		for _, p := range t.peers[class] {
			rule("from_"+class, "ip daddr %s %s dport %d accept", p.addr.Addr(), p.protocol, p.addr.Port())
			rule("to_"+class, "ip saddr %s %s sport %d accept", p.addr.Addr(), p.protocol, p.addr.Port())
		}
		rule("from_"+class, "drop")
		rule("to_"+class, "drop")
	}
	return b.String()
}
