package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	linkLocal = "[fe80::858:c6ff:fe12:1001%eth0]:10250"
	theID     = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// way is somewhere to go from a pod, and the classes that may.
type way struct {
	network, addr string
	classes       string
}

var ways = []way{
	{"tcp", "198.18.0.1:5000", "registry"},    // registry
	{"udp", "198.18.0.1:5000", ""},            // its port by UDP
	{"tcp", "198.18.0.1:8080", "git"},         // Git server
	{"tcp", "198.18.0.1:6443", ""},            // API server
	{"tcp", "198.18.16.1:10250", ""},          // kubelet at the gateway
	{"tcp", "198.18.16.1:5000", ""},           // registry at another of the node's addresses
	{"udp", "198.19.0.10:53", "registry git"}, // DNS
	{"tcp", "198.19.0.10:53", "registry git"}, // DNS
	{"udp", "198.18.16.9:1053", ""},           // the name server without its service
	{"tcp", "198.18.16.9:9090", ""},           // another pod, over the bridge
	{"udp", "198.18.16.9:9090", ""},           // another pod, over the bridge
	{"tcp", linkLocal, "never"},               // kubelet by IPv6
}

func TestAPodIsShutInBeforeItStarts(t *testing.T) {
	if !inNodeNamespace(t) {
		return
	}
	makeNode(t)
	dns, p := makePod(t, "198.18.16.9"), makePod(t, "198.18.16.5")
	var node *pod
	for _, addr := range []string{"198.18.0.1:5000", "198.18.0.1:8080", "198.18.0.1:6443", "[::]:10250", "198.18.16.1:5000"} {
		node.serve(t, addr)
	}
	for _, addr := range []string{"198.18.16.9:1053", "198.18.16.9:9090"} {
		dns.serve(t, addr)
	}
	p.serve(t, "198.18.16.5:7070")
	// Without this the test would show nothing. A link that is just coming up
	// has no address yet.
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		conn, err := p.dial("tcp", linkLocal, patience)
		if err == nil {
			_ = conn.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("without a table: %v", err)
		}
	}
	loadTable(t)
	var open []trip
	for _, w := range ways {
		open = append(open, trip{p, w.network, w.addr, w.classes != "never"})
	}
	try(t, "before", open...)
	stranger := call{"ADD", strings.Repeat("f", 64), "tekton-chains"}
	stranger.must(t, network(t, gave("198.18.16.9/20", "none")))
	for i, class := range []string{"none", "registry", "git", "bogus"} {
		early, err := p.dial("tcp", "198.18.0.1:6443", patience)
		if err != nil {
			t.Fatal(err)
		}
		c := call{"ADD", fmt.Sprintf("%064d", i), "build-sample"}
		conf := network(t, gave("198.18.16.5/20", class))
		c.must(t, conf)
		try(t, class, jailedTrips(class, p, dns)...)
		if err := ping(early, silence); err == nil {
			t.Errorf("%s: a connection of before still is one", class)
		}
		_ = early.Close()
		call{"DEL", c.id, c.namespace}.must(t, conf)
	}
	try(t, "after", trip{p, "tcp", "198.18.0.1:6443", true}, trip{node, "tcp", "198.18.16.5:7070", true})
}

// jailedTrips are all ways out of a jailed pod, and into it.
func jailedTrips(class string, p, other *pod) []trip {
	var node *pod
	trips := []trip{
		{node, "tcp", "198.18.16.5:7070", false},
		{node, "udp", "198.18.16.5:7070", false},
		{other, "tcp", "198.18.16.5:7070", false},
		{other, "udp", "198.18.16.5:7070", false},
		{other, "tcp", "198.18.0.1:6443", true}, // its namespace is another one
	}
	for _, w := range ways {
		trips = append(trips, trip{p, w.network, w.addr, slices.Contains(strings.Fields(w.classes), class)})
	}
	return trips
}

func TestAPodDoesNotStartWithoutAJail(t *testing.T) {
	if !inNodeNamespace(t) {
		return
	}
	makeNode(t)
	conf := network(t, gave("198.18.16.5/20", "none"))
	c := call{"ADD", theID, "build-sample"}
	status := func() []byte { return network(t, func(m map[string]any) { m["cniVersion"] = "1.1.0" }) }
	c.refused(t, conf, reasonTable)
	call{"STATUS", "", ""}.refused(t, status(), reasonTable)
	call{"ADD", theID, "tekton-chains"}.must(t, conf) // is not ours to stop
	call{"DEL", theID, "build-sample"}.must(t, conf)  // nothing there is nothing to do
	loadTable(t)
	call{"STATUS", "", ""}.must(t, status())
	for name, script := range map[string]string{
		"no rules from pods": "flush chain inet millwright_jail from_pods",
		"no rules to pods":   "flush chain inet millwright_jail to_pods",
		"no end of a class":  "flush chain inet millwright_jail from_none",
		"one class is open":  "flush chain inet millwright_jail from_git",
	} {
		nftDo(t, script)
		if out, err := c.run(t, conf); err == nil || !strings.Contains(out, reasonTable) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		loadTable(t)
	}
	for _, setting := range []string{"net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"} {
		sysctl(t, setting, "0")
		c.refused(t, conf, reasonBridged)
		sysctl(t, setting, "1")
	}
	c.refused(t, network(t, func(m map[string]any) { gave("198.18.16.5/20", "")(m); m["nft"] = "/usr/bin/false" }), "exit status 1")
	c.refused(t, network(t, func(m map[string]any) { gave("198.18.16.5/20", "")(m); m["nft"] = "/usr/bin/true" }), "JSON")
	c.refused(t, network(t, gave("fd00::5/64", "none")), reasonResult)
	c.refused(t, network(t, nil), reasonResult)
	call{"ADD", theID, ""}.refused(t, conf, reasonNamespace)
	if members(t) != "" {
		t.Errorf("refused, and yet there are %s", members(t))
	}
	c.must(t, conf)
}

// members prints who is where.
func members(t *testing.T) string {
	t.Helper()
	all, err := nft{path: "/usr/sbin/nft"}.elements(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range all {
		fmt.Fprintf(&b, "%s %s %s\n", m.class, m.addr, m.owner)
	}
	return b.String()
}

func TestOnlyTheOwnerOfAnAddressTakesItOut(t *testing.T) {
	if !inNodeNamespace(t) {
		return
	}
	makeNode(t)
	loadTable(t)
	conf := network(t, gave("198.18.16.5/20", "registry"))
	want := func(when, who string) {
		t.Helper()
		if got := members(t); got != who {
			t.Errorf("%s: %q, want %q", when, got, who)
		}
	}
	add := func(id string) call { return call{"ADD", id, "build-sample"} }
	del := func(id string) call { return call{"DEL", id, "build-sample"} }
	check := func(id string) call { return call{"CHECK", id, "build-sample"} }
	add("old").must(t, conf)
	add("old").must(t, conf)
	check("old").must(t, conf)
	want("added twice", "registry 198.18.16.5 old/eth0\n")
	loadTable(t)
	want("the table was made again", "registry 198.18.16.5 old/eth0\n")
	// The address was given to another pod, of another class, before the first
	// one was taken out.
	other := network(t, gave("198.18.16.5/20", "none"))
	add("new").must(t, other)
	want("taken over", "none 198.18.16.5 new/eth0\n")
	check("old").refused(t, conf, reasonMember)
	del("old").must(t, conf)
	want("the old one is deleted late", "none 198.18.16.5 new/eth0\n")
	check("new").must(t, other)
	nftDo(t, "add element inet millwright_jail git { 198.18.16.5 }")
	check("new").refused(t, other, reasonMember)
	nftDo(t, "delete element inet millwright_jail git { 198.18.16.5 }")
	// An ADD of which the runtime knows nothing has no result to be undone with.
	for range 2 {
		del("new").must(t, network(t, nil))
		want("deleted without a result", "")
	}
	check("new").refused(t, other, reasonMember)
	add("a").must(t, network(t, gave("198.18.16.6/20", "")))
	add("b").must(t, network(t, gave("198.18.16.7/20", "")))
	nftDo(t, "add element inet millwright_jail none { 198.18.16.8 }")
	call{"GC", "", ""}.must(t, network(t, func(m map[string]any) {
		m["cniVersion"] = "1.1.0"
		m["cni.dev/valid-attachments"] = []any{map[string]string{"containerID": "b", "ifname": "eth0"}}
	}))
	want("collected", "none 198.18.16.7 b/eth0\nnone 198.18.16.8 \n")
}
