package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/e2e/node"
	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/tools/assets"
	"millwright.dev/millwright/tools/images"
)

// Ports of the node that lead to servers of the machine: the Git server, and the
// log and the timestamps of the people's Sigstore, which is there before the
// cluster is.
const (
	gitPort   = 8480
	logPort   = 8481
	stampPort = 8482
)

// floor is the factory while it comes up.
type floor struct {
	options options
	began   time.Time

	site       *localfactory.Site
	alice, bob localfactory.Person
	anchor     string            // the first commit of the factory repository
	sample     string            // the commit of the sample that is built
	digests    map[string]string // of images, by name
	node       *node.Node
	api        client.Client
}

// serve brings the factory up and stays until it is asked to end, or the node
// has ended.
func serve(ctx context.Context, o options) error {
	if err := hold(o); err != nil {
		return err
	}
	f := &floor{options: o, began: time.Now()}
	defer f.stop()
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGHUP)
	for steps := f.steps(); ; steps = f.restart() {
		if err := f.take(ctx, steps); err != nil {
			return err
		}
		if err := os.WriteFile(o.path(readyFile), nil, 0o600); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-f.node.Done():
			return errNodeEnded
		case <-again:
		}
	}
}

// take takes the steps, and tells how long each took.
func (f *floor) take(ctx context.Context, steps []step) error {
	for _, step := range steps {
		f.tell("%s", step.name)
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		f.tell("  %.1f s", time.Since(began).Seconds())
	}
	return nil
}

// restart are the steps when the node is started again, with what it had before.
func (f *floor) restart() []step {
	began := time.Now()
	return []step{
		{"the node again", func(ctx context.Context) error {
			f.node.Stop()
			return f.startNode(ctx)
		}},
		// What the API server remembers of pods is from before; only a container that
		// was started since tells anything.
		{"everything comes back", func(ctx context.Context) error { return f.running(ctx, began) }},
		{"Millwright goes on", f.healthy},
	}
}

type step struct {
	name string
	do   func(context.Context) error
}

// steps are the whole of it, in their order.
func (f *floor) steps() []step {
	return []step{
		{"people, their Sigstore, a registry, a Git server", f.startSite},
		{"keys", func(context.Context) error { return f.makeKeys() }},
		{"images", f.makeImages},
		{"node", f.startNode},
		{"names", f.nameService},
		{"the factory repository, signed by alice", f.makeRepository},
		{"Millwright", f.install},
		{"keys for the Sigstore inside", f.giveKeys},
		{"Millwright builds the factory", f.healthy},
		{"an identity for Millwright, instead of its first key", f.giveIdentity},
		{"Millwright goes on with it", f.healthy},
		{"a program for the factory", f.makeSample},
		{"the catalog's pipeline builds it", func(ctx context.Context) error { return f.build(ctx, "sample-1") }},
		{"stock cosign verifies who built it, and of what", f.verifyBuild},
		{"Kyverno lets it in, and turns away what nobody built", f.release},
		{"the end", f.sayHow},
	}
}

// tell writes a line of progress.
func (f *floor) tell(format string, args ...any) {
	fmt.Printf("%6.1f s  %s\n", time.Since(f.began).Seconds(), fmt.Sprintf(format, args...))
}

// Write makes the floor a writer of progress, for what reports in lines.
func (f *floor) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		f.tell("  %s", strings.TrimRight(line, "\n"))
	}
	return len(b), nil
}

func (f *floor) stop() {
	_ = os.Remove(f.options.path(readyFile))
	if f.node != nil {
		f.node.Stop()
	}
	if f.site != nil {
		f.site.Stop()
	}
}

func (f *floor) startSite(ctx context.Context) error {
	var err error
	f.site, err = localfactory.Start(ctx, localfactory.Options{Dir: f.options.path("site"), Root: f.options.root, WithoutCluster: true, Progress: f})
	if err != nil {
		return err
	}
	f.tell("  registry is at %s", f.site.Registry.Host)
	return nil
}

// makeImages builds every program and puts the images into the registry.
func (f *floor) makeImages(ctx context.Context) error {
	var names []string
	for _, p := range programs() {
		names = append(names, p.asset)
	}
	bin, err := assets.Ensure(ctx, f, append(names, "millwright-policy")...)
	if err != nil {
		return err
	}
	all, err := catalog(ctx, bin, f.site.Path("bin"))
	if err != nil {
		return err
	}
	cache, err := assets.Cache()
	if err != nil {
		return err
	}
	signer, err := f.signer(ctx)
	if err != nil {
		return err
	}
	f.digests = map[string]string{}
	for _, i := range all {
		image, err := images.Build(ctx, cache, i)
		if err != nil {
			return err
		}
		ref, err := push(ctx, f.site.Registry.Host, i.Name, image)
		if err != nil {
			return err
		}
		f.digests[i.Name] = ref.DigestStr()
		if err := f.describe(ctx, signer, bin.Path("step"), i, ref); err != nil {
			return fmt.Errorf("image %s: %w", i.Name, err)
		}
	}
	f.tell("  %d images are signed by %s of %s", len(all), imageBuilder, f.site.Sigstore.IssuerURL(sigstoretest.Workload))
	return nil
}

// reference is how manifests name an image.
func (f *floor) reference(image string) string {
	return node.Registry + "/" + image + "@" + f.digests[image]
}

func (f *floor) startNode(ctx context.Context) error {
	servers := map[int]int{}
	for here, url := range map[int]string{
		5000: f.site.Registry.Host, gitPort: f.site.Git.URL, logPort: f.site.Sigstore.RekorURL, stampPort: f.site.Sigstore.TimestampURL,
	} {
		var err error
		if servers[here], err = port(strings.TrimPrefix(url, "http://")); err != nil {
			return err
		}
	}
	var err error
	f.node, err = node.Start(ctx, node.Options{
		Dir: f.options.path("node"), Pause: f.reference("pause"), Progress: f, Servers: servers,
		Jail: node.Jail{Namespaces: []string{"build-sample"}, GitPort: gitPort, Allow: []string{"registry=198.19.1.1:80", "registry=198.19.1.2:80"}},
	})
	if err != nil {
		return err
	}
	return f.connect()
}

// port is the port of "127.0.0.1:PORT", whatever follows it.
func port(host string) (int, error) {
	_, p, _ := strings.Cut(host, ":")
	p, _, _ = strings.Cut(p, "/")
	return strconv.Atoi(p)
}
