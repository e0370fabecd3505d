// Command spiffe-csi is the node driver csi.spiffe.io: it gives a pod the
// socket of the SPIRE agent, in an ephemeral inline volume that is read-only.
//
// One process serves both sockets that the kubelet wants: the one by which a
// plugin makes itself known (pluginregistration v1, below plugins_registry) and
// the one of the driver (CSI 1.x). There is no controller, no staging and no
// state: what is mounted is what the kernel says is mounted.
//
// It refuses volumes that are persistent, writable or block devices, that carry
// attributes, mount options or a filesystem type, and target paths of any other
// shape than the kubelet's own. The folders of the kubelet have to be seen
// under the same paths as on the node, with mount propagation Bidirectional.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

// options are the command line.
type options struct {
	node         string // name of the node, which the kubelet writes into CSINode
	agentDir     string // folder with the agent's socket
	podsDir      string // the kubelet's folder of pods
	csiSocket    string // socket of the driver
	registration string // the kubelet's folder of registration sockets
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(ctx, o, slog.Default())
	}
	stop()
	os.Exit(refusal.Exit(os.Stderr, "spiffe-csi", err))
}

var nodeName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("spiffe-csi", flag.ContinueOnError)
	flags.StringVar(&o.node, "node", os.Getenv("NODE_NAME"), "name of this node (default: $NODE_NAME)")
	flags.StringVar(&o.agentDir, "agent-dir", "/run/spire/agent-sockets", "folder with the agent's socket")
	flags.StringVar(&o.podsDir, "pods-dir", "/var/lib/kubelet/pods", "the kubelet's folder of pods")
	flags.StringVar(&o.csiSocket, "csi-socket", "/var/lib/kubelet/plugins/csi.spiffe.io/csi.sock", "socket of the driver, by the path that the kubelet sees")
	flags.StringVar(&o.registration, "registration-dir", "/var/lib/kubelet/plugins_registry", "the kubelet's folder of registration sockets")
	if err := refusal.Parse(flags, args, os.Stderr); err != nil {
		return o, err
	}
	if !nodeName.MatchString(o.node) {
		return o, refusal.Usage("-node %q is no name of a node", o.node)
	}
	for _, path := range []string{o.agentDir, o.podsDir, o.csiSocket, o.registration} {
		if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
			return o, refusal.Usage("%q is not an absolute, clean path", path)
		}
	}
	return o, nil
}

// errNotRegistered ends the process: a kubelet that has refused a plugin looks
// at it again only when its socket is made anew.
var errNotRegistered = errors.New("the kubelet did not register the driver")

// run serves until the context ends or the kubelet turns the driver away.
func run(ctx context.Context, o options, log *slog.Logger) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	d := &driver{options: o, log: log}
	r := &registration{endpoint: o.csiSocket, log: log, refused: func(why string) {
		end(fmt.Errorf("%w: %s", errNotRegistered, why))
	}}
	// The driver first: the kubelet calls it as soon as it knows of it.
	csiDone, err := serve(ctx, o.csiSocket, d.register)
	if err != nil {
		return err
	}
	regDone, err := serve(ctx, filepath.Join(o.registration, driverName+"-reg.sock"), r.register)
	if err != nil {
		return err
	}
	log.Info("serving", "driver", driverName, "node", o.node, "socket", o.csiSocket)
	select {
	case err = <-csiDone:
	case err = <-regDone:
	case <-ctx.Done():
		err = errors.Join(<-csiDone, <-regDone)
	}
	if cause := context.Cause(ctx); errors.Is(cause, errNotRegistered) {
		return cause
	}
	return err
}
