package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"millwright.dev/millwright/reconciler"
)

// options are the flags.
type options struct {
	kubeconfig, namespace, watched     string
	dataDir, trustedRoot, policyEngine string
	tokenFile, keyFile, frontierKey    string
	keyService                         string
	poke, metrics, health, verifyLog   string
	pprof, spiffe                      string
	plain                              []string
	leaderElect, debug                 bool
	workers                            int
	// shard selects the Factories that are this process's.
	shard labels.Selector
	trust repositoryOptions
	// interrupt is where tests end the process; no flag sets it.
	interrupt reconciler.Interrupt
}

func parse(args []string, out io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("millwright-controller", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `file`; without it the in-cluster configuration is used")
	f.StringVar(&o.namespace, "namespace", "millwright-system", "the `namespace` of the leader election lease")
	f.StringVar(&o.watched, "watch-namespace", "", "the only `namespace` whose Factories are reconciled, so that rights in it are enough; empty means all")
	f.StringVar(&o.dataDir, "data-dir", "", "`directory` of the object stores; losing it costs a clone (required)")
	f.StringVar(&o.trustedRoot, "trusted-root", "", "Sigstore trusted_root.json `file` with the authorities and logs that are believed (required, unless --trusted-root-tuf is given)")
	o.trust.add(f)
	f.StringVar(&o.policyEngine, "policy-engine", "", "absolute path of the millwright-policy `program` (required)")
	f.StringVar(&o.tokenFile, "identity-token-file", "", "`file` with the controller's OIDC token or JWT-SVID, read again for every signature")
	f.StringVar(&o.spiffe, "spiffe-socket", "", "`path` of the SPIFFE Workload API's socket, which is asked for a JWT-SVID for every signature, instead of --identity-token-file")
	plain := f.String("plain-http-hosts", "", "exact `hosts`, with their port if they have one and with commas between them, to which the identity token and evidence may go unencrypted: for a factory on one machine")
	f.StringVar(&o.keyFile, "attest-key", "", "PEM `file` with the ECDSA P-256 private key for factories that sign with a key")
	f.StringVar(&o.keyService, "attest-kms", "", "`reference` of that key in a key management service instead, such as awskms://…: it is reached through sigstore's plugin sigstore-kms-NAME on the PATH")
	f.StringVar(&o.frontierKey, "frontier-key-file", "", "`file` with the secret that seals what was verified for the next start, made with mode 0600 when it is not there; empty means that every start verifies anew")
	f.StringVar(&o.verifyLog, "verify-log", "", "`URL` of a Rekor v1 server that is asked for the log entry of a signature that carries none, where a trust policy has log: online; empty means never")
	f.StringVar(&o.poke, "poke-addr", "", "`address` for POST /poke/NAMESPACE/NAME; empty means none")
	f.StringVar(&o.metrics, "metrics-addr", "0", "`address` of the Prometheus metrics; 0 means none")
	f.StringVar(&o.health, "health-addr", "0", "`address` of /healthz and /readyz; 0 means none")
	f.StringVar(&o.pprof, "pprof-addr", "0", "`address` of Go's profiles under /debug/pprof, for those who look for where time or memory goes; 0 means none")
	f.BoolVar(&o.leaderElect, "leader-elect", false, "hold a lease while working, so that several replicas can run")
	f.IntVar(&o.workers, "workers", 4, "`number` of Factories that are worked on at the same time; no Factory is ever in two of them")
	shard := f.String("shard-selector", "", "label `selector` of the Factories that this process works on, with a lease of its own; empty means all")
	f.BoolVar(&o.debug, "debug", false, "log every stage")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.poke, o.metrics, o.health, o.pprof = loopback(o.poke), loopback(o.metrics), loopback(o.health), loopback(o.pprof)
	if *plain != "" {
		o.plain = strings.Split(*plain, ",")
	}
	err := o.validate(f.Args())
	if err == nil {
		o.shard, err = shardOf(*shard)
	}
	if err != nil {
		fmt.Fprintln(out, "millwright-controller:", err)
	}
	return o, err
}

// shardOf reads a selector; nil means every Factory.
func shardOf(text string) (labels.Selector, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // no selector is a selector
	}
	selector, err := labels.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("reading --shard-selector: %w", err)
	}
	return selector, nil
}

// loopback completes an address without a host, which would otherwise mean
// every interface of the machine: that has to be asked for by its name (F16).
func loopback(addr string) string {
	if host, port, err := net.SplitHostPort(addr); err == nil && host == "" {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

func (o options) validate(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case o.dataDir == "":
		return errors.New("--data-dir is required")
	case o.policyEngine == "":
		return errors.New("--policy-engine is required")
	case o.keyFile != "" && o.keyService != "":
		return errors.New("--attest-key and --attest-kms are two places of one key")
	case o.tokenFile != "" && o.spiffe != "":
		return errors.New("--identity-token-file and --spiffe-socket are two sources of one identity")
	case o.spiffe != "" && !filepath.IsAbs(o.spiffe):
		return errors.New("--spiffe-socket has to be an absolute path")
	case o.workers < 1:
		return errors.New("--workers has to be 1 or more")
	}
	return o.trust.validate(o.trustedRoot)
}
