// Command volumes is the provisioner millwright.dev/volumes: for each claim of
// a storage class of that name it makes a folder on the one node there is, and
// a PersistentVolume of type local that leads to it; when the volume is
// released, it removes both.
//
// The type is local and not hostPath, because the kubelet gives the group of
// the pod (fsGroup) to the former only. The folder is root's with mode 0770: a
// pod that has no fsGroup cannot write into it.
//
// It is for a single node: there is no leader election, and a second instance
// must not run. Sizes are not enforced by a folder; they are bounded at the
// claim. It refuses what a folder cannot be: block devices, selectors, data
// sources, parameters and mount options of the class, access by many nodes.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"

	"millwright.dev/millwright/tools/pods/internal/refusal"
)

const provisionerName = "millwright.dev/volumes"

// options are the command line.
type options struct {
	node, dir, kubeconfig string
	maxSize               resource.Quantity
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.Default()
	klog.SetLogger(logr.FromSlogHandler(log.Handler()))
	o, err := parse(os.Args[1:])
	if err == nil {
		err = run(klog.NewContext(ctx, klog.Background()), o, log)
	}
	stop()
	os.Exit(refusal.Exit(os.Stderr, "volumes", err))
}

var nodeName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("volumes", flag.ContinueOnError)
	flags.StringVar(&o.node, "node", os.Getenv("NODE_NAME"), "name of this node (default: $NODE_NAME)")
	flags.StringVar(&o.dir, "dir", "/var/lib/millwright-volumes", "folder of the volumes, by the path that the kubelet sees")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig (default: the pod's service account)")
	size := flags.String("max-size", "16Gi", "largest claim that is accepted")
	if err := refusal.Parse(flags, args, os.Stderr); err != nil {
		return o, err
	}
	if !nodeName.MatchString(o.node) {
		return o, refusal.Usage("-node %q is no name of a node", o.node)
	}
	if !filepath.IsAbs(o.dir) || filepath.Clean(o.dir) != o.dir || o.dir == "/" {
		return o, refusal.Usage("-dir %q is not an absolute, clean path", o.dir)
	}
	quantity, err := resource.ParseQuantity(*size)
	if err != nil || quantity.Sign() <= 0 {
		return o, refusal.Usage("-max-size %q is no size", *size)
	}
	o.maxSize = quantity
	return o, nil
}

func run(ctx context.Context, o options, log *slog.Logger) error {
	info, err := os.Lstat(o.dir)
	if err != nil {
		return fmt.Errorf("looking at the folder of the volumes: %w", err)
	}
	if !info.IsDir() {
		return refusal.New("volume/folder", "make it a folder", "%q is no folder", o.dir)
	}
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("reading how to reach the cluster: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making the client: %w", err)
	}
	log.Info("serving", "provisioner", provisionerName, "node", o.node, "dir", o.dir)
	newController(ctx, client, o, log).Run(ctx)
	return nil
}

// newController wires the provisioner into the loop that watches claims.
func newController(ctx context.Context, client kubernetes.Interface, o options, log *slog.Logger) *controller.ProvisionController {
	// The loop's own pace begins at 15 s, which a build would wait for after
	// one conflict.
	pace := workqueue.NewTypedItemExponentialFailureRateLimiter[string](time.Second, time.Minute)
	return controller.NewProvisionController(ctx, client, provisionerName, &provisioner{options: o, log: log},
		controller.LeaderElection(false), controller.MetricsPort(0), controller.RateLimiter(pace), controller.Threadiness(2))
}
