package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The parties.
const (
	millwright = "millwright"
	fluxOne    = "flux"
	fluxMany   = "flux-many"
	argo       = "argo"
	kubectl    = "kubectl"
	limit      = "limit"
)

// party is somebody who keeps a cluster as a repository says.
type party interface {
	// install brings what the party needs into an empty cluster and starts what
	// it runs. That is not measured.
	install(ctx context.Context) error
	// begin has it apply the commit to a cluster without anything of it, and
	// returns when the party says that it is done.
	begin(ctx context.Context, commit string) error
	// again has it look whether anything is to be done.
	again(ctx context.Context) error
	// follow tells it that the commit was pushed, as a forge does, and returns
	// when it says that it is done.
	follow(ctx context.Context, commit string) error
	// repair tells it that something may have been changed in the cluster, where
	// it does not notice by itself.
	repair(ctx context.Context) error
}

// entry is a party with what it stands on.
type entry struct {
	*bed
	party
}

// restless is a party that goes on working after it said that it is done.
type restless interface {
	// wake lets it go on, and waits until it is as idle as it gets.
	wake(ctx context.Context) error
	// rest waits for the same, and holds it: others are measured next.
	rest(ctx context.Context) error
}

// turn does something with a party whose turn it is. A restless one is held between its
// turns; what it does before and after is in nobody's figures.
func (e entry) turn(ctx context.Context, do func(context.Context) error) error {
	x, is := e.party.(restless)
	if !is {
		return do(ctx)
	}
	if err := x.wake(ctx); err != nil {
		return err
	}
	if err := do(ctx); err != nil {
		return err
	}
	return x.rest(ctx)
}

// newEntry starts an empty cluster and installs the party in it.
func (b *benchmark) newEntry(ctx context.Context, f *floor, name, dir string) (e entry, err error) {
	bed, err := newBed(ctx, f, name, dir)
	if err != nil {
		return entry{}, err
	}
	defer func() {
		if err != nil {
			bed.stop()
		}
	}()
	e = entry{bed: bed}
	switch name {
	case millwright:
		e.party = &millwrightParty{bed: bed}
	case fluxOne:
		e.party = &fluxParty{bed: bed, programs: b.programs, paths: []string{local}}
	case fluxMany:
		e.party = &fluxParty{bed: bed, programs: b.programs, paths: append([]string{local + "/bench-namespace"}, f.corpus.appDirs()...)}
	case argo:
		e.party = &argoParty{bed: bed, programs: b.argo}
	case kubectl:
		e.party = &kubectlParty{bed: bed}
	case limit:
		e.party = &limitParty{bed: bed}
	default:
		return e, fmt.Errorf("there is no party %q", name)
	}
	if err := e.install(ctx); err != nil {
		return e, fmt.Errorf("installing %s: %w", name, err)
	}
	return e, e.settle(ctx)
}

// settle lets what was just installed come to rest: the API server takes a second
// for the first look at a kind that was just defined, and what was just started
// begins to watch.
func (b *bed) settle(ctx context.Context) error {
	list, err := b.api.Resource(crds()).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	places := map[schema.GroupVersionKind]place{}
	for i := range list.Items {
		define(places, &list.Items[i])
	}
	for _, p := range places {
		if _, err := b.api.Resource(p.resource).List(ctx, metav1.ListOptions{}); err != nil {
			return err
		}
	}
	time.Sleep(2 * time.Second)
	return nil
}

// appDirs are the folders of the apps.
func (c corpus) appDirs() []string {
	var out []string
	for app := range c.apps {
		out = append(out, local+"/"+appDir(app))
	}
	return out
}

// environment is all that a command of a party knows of the machine.
func (b *bed) environment(more ...string) []string {
	return append([]string{
		"PATH=" + b.floor.site.Path("bin") + ":" + os.Getenv("PATH"), "HOME=" + b.dir, "KUBECONFIG=" + b.cluster.Kubeconfig, "LC_ALL=C",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
	}, more...)
}

// kubectlParty is somebody with a clone and a kubectl.
type kubectlParty struct{ *bed }

func (k *kubectlParty) install(context.Context) error { return nil }

func (k *kubectlParty) begin(ctx context.Context, _ string) error {
	if _, err := k.command(ctx, k.environment(), "git", "clone", "--quiet", "--depth", "1", "--branch", "main", k.remote, "clone"); err != nil {
		return err
	}
	return k.apply(ctx)
}

// apply repeats what fails because a definition is not served yet, as people do.
func (k *kubectlParty) apply(ctx context.Context) error {
	const attempts = 20
	var err error
	for range attempts {
		var out string
		out, err = k.command(ctx, k.environment(), "kubectl", "apply", "--server-side", "--force-conflicts", "--validate=ignore", "--field-manager=bench", "-k", "clone/"+local)
		if err == nil {
			return nil
		}
		if !strings.Contains(out, "no matches for kind") && !strings.Contains(out, "resource mapping not found") && !strings.Contains(out, "could not find the requested resource") {
			return err
		}
	}
	return err
}

func (k *kubectlParty) again(ctx context.Context) error {
	for _, args := range [][]string{{"fetch", "--quiet", "--depth", "1", k.remote, "main"}, {"reset", "--quiet", "--hard", "FETCH_HEAD"}} {
		if _, err := k.command(ctx, k.environment(), append([]string{"git", "-C", "clone"}, args...)...); err != nil {
			return err
		}
	}
	return k.apply(ctx)
}

func (k *kubectlParty) follow(ctx context.Context, _ string) error { return k.again(ctx) }

func (k *kubectlParty) repair(ctx context.Context) error { return k.apply(ctx) }
