package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"millwright.dev/millwright/bench/figures"
	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/tools/assets"
)

// results are the costs by workload and party, one for each round; samples are
// seconds of which there are several in a round.
type results map[string]map[string][]cost

func (r results) note(workload, party string, c cost) {
	if r[workload] == nil {
		r[workload] = map[string][]cost{}
	}
	r[workload][party] = append(r[workload][party], c)
}

type benchmark struct {
	config

	log      io.Writer
	began    time.Time
	programs assets.Bin // Flux's
	argo     assets.Bin
	own      string
	results  results
	// samples are single latencies in seconds, by workload and party.
	samples map[string]map[string][]float64
	sizes   []string
	load    [2]string
}

func (b *benchmark) sample(workload, party string, seconds float64) {
	if b.samples[workload] == nil {
		b.samples[workload] = map[string][]float64{}
	}
	b.samples[workload][party] = append(b.samples[workload][party], seconds)
}

func (b *benchmark) say(format string, args ...any) {
	fmt.Fprintf(b.log, "%6s  "+format+"\n", append([]any{time.Since(b.began).Round(time.Second)}, args...)...)
}

// prepare builds what is run.
func (b *benchmark) prepare(ctx context.Context) error {
	b.samples = map[string]map[string][]float64{}
	if b.takesPart(fluxOne) {
		var err error
		if b.programs, err = assets.Ensure(ctx, b.log, "flux-source-controller", "flux-kustomize-controller"); err != nil {
			return err
		}
	}
	if b.takesPart(argo) {
		var err error
		if b.argo, err = assets.Ensure(ctx, b.log, "argocd", "redis"); err != nil {
			return err
		}
	}
	b.own = filepath.Join(b.dir, "programs")
	if err := os.MkdirAll(b.own, 0o700); err != nil {
		return err
	}
	b.say("building millwright")
	return localfactory.Build(ctx, b.root, b.own)
}

func (b *benchmark) takesPart(name string) bool {
	return slices.Contains(strings.Split(b.parties, ","), name)
}

// names are the parties in the order of the tables.
func (b *benchmark) names() []string {
	out := []string{millwright}
	for _, name := range []string{fluxOne, argo, kubectl, limit} {
		if b.takesPart(name) {
			out = append(out, name)
		}
	}
	return out
}

func (b *benchmark) measure(ctx context.Context) error {
	b.load[0] = figures.LoadAverage()
	defer func() { b.load[1] = figures.LoadAverage() }()
	if b.wants("w1") || b.wants("w2") || b.wants("w3") || b.wants("w4") {
		if err := b.onFactory(ctx); err != nil {
			return err
		}
	}
	if b.wants("w7") {
		return b.onApps(ctx)
	}
	return nil
}

// newFloor starts a floor with a corpus for the parties.
func (b *benchmark) newFloor(ctx context.Context, name string, c corpus, parties []string) (*floor, error) {
	b.say("starting the servers and making the repository %q", name)
	f, err := newFloor(ctx, localfactory.Options{Dir: filepath.Join(b.dir, name), Root: b.root, Programs: b.own, Progress: b.log}, c, parties)
	if err != nil {
		return nil, err
	}
	size := fmt.Sprintf("%s: %d objects, %.1f MB of rendered YAML", name, len(f.objects), float64(f.size)/1e6)
	b.sizes = append(b.sizes, size)
	b.say("%s", size)
	return f, nil
}

// onFactory measures W1 to W4 on the factory.
func (b *benchmark) onFactory(ctx context.Context) error {
	c := corpus{factory: true, definitions: 26, properties: 84, apps: 100}
	if b.quick {
		c = corpus{definitions: 3, properties: 10, apps: 5}
	}
	f, err := b.newFloor(ctx, "factory", c, b.names())
	if err != nil {
		return err
	}
	defer f.site.Stop()
	entries, err := b.bootstrap(ctx, f)
	defer func() {
		for _, e := range entries {
			e.stop()
		}
	}()
	if err != nil {
		return err
	}
	for _, w := range []struct {
		name string
		run  func(context.Context, *floor, []entry) error
	}{{"w2", b.nothing}, {"w3", b.commits}, {"w4", b.drift}} {
		if !b.wants(w.name) {
			continue
		}
		if err := w.run(ctx, f, entries); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

// bootstrap measures W1, each party with its cluster and no other, and then has all of
// them apply everything once more, for what is measured after it.
func (b *benchmark) bootstrap(ctx context.Context, f *floor) (kept []entry, err error) {
	commit, err := f.site.Head(ctx, f.alice)
	if err != nil {
		return nil, err
	}
	rounds := b.rounds
	if !b.wants("w1") {
		rounds = 0
	}
	for round := range rounds {
		b.say("W1, round %d of %d", round+1, rounds)
		for _, name := range figures.Turn(b.names(), round) {
			e, c, err := b.first(ctx, f, name, commit, filepath.Join(b.dir, fmt.Sprintf("w1-%d-%s", round, name)))
			if err != nil {
				return nil, err
			}
			b.results.note("W1", name, c)
			e.stop()
		}
	}
	if !b.wants("w2") && !b.wants("w3") && !b.wants("w4") {
		return nil, nil
	}
	b.say("once more for what follows, in no figure")
	for _, name := range b.names() {
		e, _, err := b.first(ctx, f, name, commit, filepath.Join(b.dir, "kept-"+name))
		if err != nil {
			return kept, err
		}
		kept = append(kept, e)
	}
	return kept, nil
}

// first has a party apply a commit to an empty cluster.
func (b *benchmark) first(ctx context.Context, f *floor, name, commit, dir string) (entry, cost, error) {
	e, err := b.newEntry(ctx, f, name, dir)
	if err != nil {
		return e, cost{}, err
	}
	taken := b.profiling(ctx, e, "begin")
	c, err := b.timed(ctx, e, "begin", func(ctx context.Context) error { return e.begin(ctx, commit) })
	if err == nil {
		err = taken()
	}
	if err == nil {
		err = e.check(ctx, f.objects)
	}
	if err != nil {
		e.stop()
	}
	return e, c, err
}

// timed measures something that a party does, tells it, and where the time went.
func (b *benchmark) timed(ctx context.Context, e entry, what string, do func(context.Context) error) (c cost, err error) {
	err = e.turn(ctx, func(ctx context.Context) error {
		c, err = b.counted(ctx, e, what, do)
		return err
	})
	return c, err
}

func (b *benchmark) counted(ctx context.Context, e entry, what string, do func(context.Context) error) (cost, error) {
	m, ours := e.party.(*millwrightParty)
	var before, after map[string]float64
	var err error
	if ours {
		if before, err = m.floor.site.Metrics(ctx); err != nil {
			return cost{}, err
		}
	}
	c, err := e.measure(ctx, do)
	if err == nil && ours {
		after, err = m.floor.site.Metrics(ctx)
	}
	if err != nil {
		return c, err
	}
	fmt.Fprintf(b.log, "  %-10s %s: %.3f s; CPU %.2f s (party %.2f, API server %.2f, etcd %.2f); %.0f MiB; %s\n",
		e.name, what, c.wall, c.cpu(), c.party, c.apiserver, c.store, c.peak, c.requests)
	fmt.Fprintf(b.log, "             requests: %s\n", c.requests.each())
	if ours {
		b.stages(before, after)
	}
	return c, nil
}

// profiling takes a profile of the controller, if that was asked for.
func (b *benchmark) profiling(ctx context.Context, e entry, name string) (wait func() error) {
	if m, ours := e.party.(*millwrightParty); ours && b.profile {
		return m.takeProfile(ctx, name)
	}
	return func() error { return nil }
}
