package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// Reasons of the canary.
const (
	reasonReached   = "canary/reached"
	reasonProcess   = "canary/process"
	reasonProbe     = "canary/probe"
	reasonNoGateway = "canary/no-gateway"
)

// proof is what the canary leaves behind: what was tried, and what came of it.
type proof struct {
	Type    string   `json:"type"`
	Jailed  bool     `json:"jailed"`
	Timeout string   `json:"timeout"`
	Probes  []result `json:"probes"`
	Process []check  `json:"process"`
}

// summary is the proof as a result of a task, all of which have to fit into 4 KiB
// together: the proof itself is the line in the log that has the digest.
type summary struct {
	Type   string `json:"type"`
	Jailed bool   `json:"jailed"`
	Probes int    `json:"probes"`
	Checks int    `json:"checks"`
	Proof  string `json:"proof"`
}

const proofType = "https://millwright.dev/jail-proof/v1"

// canary fails unless nothing can be reached from here and the process can do
// nothing. It runs where user code will: first step, same pod.
//
// It fails closed: what did not end in silence or in no way at all has failed,
// an answer of "refused" too, because somebody was there to give it.
func canary(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("canary", flag.ContinueOnError)
	var tcp, dns, local list
	flags.Var(&tcp, "tcp", "NAME=ADDRESS:PORT that must not be reached, several times (at least one)")
	flags.Var(&dns, "dns", "ADDRESS:PORT of a name server that must not answer, several times (at least one)")
	flags.Var(&local, "link-local", "NAME=[fe80::…%DEV]:PORT that must not be reached, besides the gateway's own, several times")
	name := flags.String("dns-name", "kubernetes.default.svc.cluster.local", "name to ask for")
	gateway := flags.String("gateway", "", "address of the node on the pod's network (default: that of the default route)")
	port := flags.Uint("kubelet-port", 10250, "port of the kubelet, tried at the gateway's addresses")
	timeout := flags.Duration("timeout", 3*time.Second, "how long to wait for an answer, 100ms to 30s")
	to := flags.String("proof", "", "file for the summary of the proof (JAIL_PROOF)")
	if err := refusal.Parse(flags, args, out); err != nil {
		return err
	}
	if len(tcp) == 0 || len(dns) == 0 || *timeout < 100*time.Millisecond || *timeout > 30*time.Second || *port == 0 || *port > 65535 {
		return refusal.Usage("-tcp and -dns are required, -timeout is between 100ms and 30s, -kubelet-port is a port")
	}
	probes, err := parseProbes(tcp, dns, local, *name)
	if err != nil {
		return err
	}
	node, err := gatewayAddr(*gateway)
	if err != nil {
		return err
	}
	probes = append(probes,
		probe{name: "gateway", network: "tcp", target: netip.AddrPortFrom(node, uint16(*port)).String()},
		probe{name: "gateway link-local", network: "tcp6", find: linkLocalOf(node, uint16(*port))},
		probe{name: "all nodes", target: "ff02::1", special: allNodes})
	p := proof{Type: proofType, Timeout: timeout.String(), Probes: tryAll(ctx, probes, *timeout), Process: checkProcess("/", os.Environ())}
	verdict := judge(&p)
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, string(b))
	s, err := json.Marshal(summary{
		Type: proofType, Jailed: p.Jailed, Probes: len(p.Probes), Checks: len(p.Process), Proof: fmt.Sprintf("sha256:%x", sha256.Sum256(b)),
	})
	if err != nil {
		return err
	}
	if err := writeResult(*to, string(s)); err != nil {
		return err
	}
	return verdict
}

// judge says whether the proof is one.
func judge(p *proof) error {
	for _, r := range p.Probes {
		if !r.OK {
			return refusal.New(reasonReached, "see that the pod's namespace is jailed and the node's table is there (factory-jail)", "%s at %q: %q", r.Name, r.Target, r.Outcome)
		}
	}
	for _, c := range p.Process {
		if !c.OK {
			return refusal.New(reasonProcess, "run the step restricted: not as root, without privileges, with RuntimeDefault seccomp, without token and socket", "%s: %q", c.Name, c.Seen)
		}
	}
	p.Jailed = true
	return nil
}

var (
	probeName = regexp.MustCompile(`^[a-z0-9][a-z0-9 -]{0,31}$`)
	hostName  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$`)
)

func parseProbes(tcp, dns, local list, name string) ([]probe, error) {
	if !hostName.MatchString(name) || len(name) > 253 {
		return nil, refusal.New(reasonProbe, "give a name in lower case", "%q is no name of a host", name)
	}
	var probes []probe
	for _, s := range slices.Concat(tcp, local) {
		label, target, _ := strings.Cut(s, "=")
		addr, err := netip.ParseAddrPort(target)
		if err != nil || !probeName.MatchString(label) || addr.Port() == 0 {
			return nil, refusal.New(reasonProbe, "write NAME=ADDRESS:PORT with an address, which needs no name server", "%q is nothing to try", s)
		}
		probes = append(probes, probe{name: label, network: "tcp", target: target})
	}
	for _, target := range dns {
		addr, err := netip.ParseAddrPort(target)
		if err != nil || addr.Port() == 0 {
			return nil, refusal.New(reasonProbe, "write ADDRESS:PORT", "%q is no name server", target)
		}
		query := dnsQuery(name)
		probes = append(probes,
			probe{name: "dns udp", network: "udp", target: target, send: query},
			probe{name: "dns tcp", network: "tcp", target: target})
	}
	return probes, nil
}

// tryAll tries everything at once, so that the first packets leave in the first
// moments of the pod, when a jail that comes late would be open.
func tryAll(ctx context.Context, probes []probe, timeout time.Duration) []result {
	results := make([]result, len(probes))
	var wg sync.WaitGroup
	for i, p := range probes {
		wg.Go(func() { results[i] = p.try(ctx, timeout) })
	}
	wg.Wait()
	return results
}
