package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/bench/figures"
	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// The parties.
const (
	millwright  = "millwright"
	limit       = "limit"
	cosignKey   = "cosign with a key"
	cosignToken = "cosign keyless"
)

// round is what the parties did in one.
type round struct {
	followed []followed
	timings  []timing
	// wall is how long the revisions took with their pushes, entries how many of
	// the log's came of them.
	wall    float64
	entries int64
	// limit is how long the limit program took for as many revisions, cosign for
	// each attestation.
	limit, cosignKey, cosignToken float64
}

type benchmark struct {
	config

	log   io.Writer
	began time.Time
	floor *floor
	load  [2]string
	// since is from when on requests and versions are compared.
	since  time.Time
	rounds []round
	// stages are the seconds that the controller spent in each, over all rounds.
	stages map[string]float64
	deaths []death
	// last is the newest revision that was pushed.
	last int
	// perRevision is how many statements were signed for one.
	perRevision int
	limit       *limitProgram
	cosign      *cosign

	// asked are the requests of the undisturbed revisions, redundant the writes that
	// changed nothing: until the first SIGKILL, and until the end.
	asked     []request
	redundant [2]map[object]int
	// places is how often a SIGKILL found a revision at each.
	places map[string]int
	proof  proof
}

func (b *benchmark) say(format string, args ...any) {
	fmt.Fprintf(b.log, "%6s  "+format+"\n", append([]any{time.Since(b.began).Round(time.Second)}, args...)...)
}

func (b *benchmark) stop() {
	if b.floor != nil {
		b.floor.stop()
	}
}

// prepare builds what is run, starts it, and signs all commits.
func (b *benchmark) prepare(ctx context.Context) error {
	own := filepath.Join(b.dir, "programs")
	if err := os.MkdirAll(own, 0o700); err != nil {
		return err
	}
	b.say("building millwright")
	if err := localfactory.Build(ctx, b.root, own); err != nil {
		return err
	}
	var err error
	if b.floor, err = newFloor(ctx, b.config, own, b.log); err != nil {
		return err
	}
	b.say("signing %d commits; the moments of SIGKILLs are drawn from seed %d", b.revisions+b.kills, b.seed)
	for n := range b.revisions + b.kills {
		if err := b.floor.revise(ctx, b.small); err != nil {
			return err
		}
		if (n+1)%200 == 0 {
			b.say("%d are signed", n+1)
		}
	}
	return nil
}

// measure runs everything, and proves in the end that it was done.
func (b *benchmark) measure(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var err error
	if b.floor.seen, err = watchAll(watching, b.floor.cluster.Config()); err != nil {
		return err
	}
	b.since = time.Now()
	b.load[0] = figures.LoadAverage()
	if err := b.begin(ctx); err != nil {
		return err
	}
	if err := b.undisturbed(ctx); err != nil {
		return err
	}
	if b.kills > 0 {
		b.say("%d SIGKILLs", b.kills)
		if err := b.floor.launch(ctx); err != nil {
			return err
		}
		if err := b.floor.steady(ctx, b.last); err != nil {
			return err
		}
		if err := b.dying(ctx, b.kills, b.span()); err != nil {
			return err
		}
		b.end()
	}
	b.load[1] = figures.LoadAverage()
	if err := b.read(1); err != nil {
		return err
	}
	b.say("auditing what was left behind")
	return b.prove(ctx)
}

// begin has the factory applied, and takes what it left as the work of the others.
func (b *benchmark) begin(ctx context.Context) error {
	if err := b.floor.push(ctx, 0); err != nil {
		return err
	}
	if err := b.floor.site.StartController(ctx, b.floor.site.PolicyEngine(), b.floor.flags()...); err != nil {
		return err
	}
	if err := b.floor.create(ctx, b.keep); err != nil {
		return err
	}
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := b.floor.seen.until(within, localfactory.Applied(b.floor.commits[0])); err != nil {
		return err
	}
	bundles, statement, err := b.floor.newest(ctx)
	if err != nil {
		return err
	}
	b.perRevision = len(bundles)
	if b.limit, err = newLimit(b.dir, bundles); err != nil {
		return err
	}
	b.cosign, err = newCosign(ctx, b.floor, filepath.Join(b.dir, "cosign"), statement)
	return err
}

// newest are the bundles of the newest revision, and the statement in its record.
func (f *floor) newest(ctx context.Context) (bundles [][]byte, statement []byte, err error) {
	key := client.ObjectKey{Namespace: localfactory.Namespace, Name: localfactory.Name}
	chain, err := reconciler.Chain(ctx, f.api, key)
	if err != nil {
		return nil, nil, err
	}
	companions, err := reconciler.Companions(ctx, f.api, key)
	if err != nil {
		return nil, nil, err
	}
	if len(chain) != 1 {
		return nil, nil, fmt.Errorf("the factory left %d records", len(chain))
	}
	record := []byte(chain[0].Spec.Bundle)
	bundles = append(bundles, record)
	for _, b := range companions {
		bundles = append(bundles, []byte(b))
	}
	var bundle struct {
		Envelope struct {
			Payload []byte `json:"payload"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(record, &bundle); err != nil {
		return nil, nil, err
	}
	if len(bundle.Envelope.Payload) == 0 {
		return nil, nil, errors.New("the record has no statement")
	}
	return bundles, bundle.Envelope.Payload, nil
}

// undisturbed runs the rounds, each of which takes every party once.
func (b *benchmark) undisturbed(ctx context.Context) error {
	before, err := b.floor.site.Metrics(ctx)
	if err != nil {
		return err
	}
	names := []string{millwright, limit, cosignKey, cosignToken}
	for n := range b.config.rounds {
		r := round{}
		revisions := b.revisions*(n+1)/b.config.rounds - b.revisions*n/b.config.rounds
		b.say("round %d of %d: %d revisions", n+1, b.config.rounds, revisions)
		for _, name := range figures.Turn(names, n) {
			if err := b.party(ctx, name, revisions, &r); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		b.rounds = append(b.rounds, r)
	}
	after, err := b.floor.site.Metrics(ctx)
	if err != nil {
		return err
	}
	b.stages = map[string]float64{}
	for name, seconds := range after {
		b.stages[name] = seconds - before[name]
	}
	b.end()
	return b.read(0)
}

func (b *benchmark) party(ctx context.Context, name string, revisions int, r *round) error {
	var err error
	switch name {
	case millwright:
		return b.backToBack(ctx, revisions, r)
	case limit:
		r.limit, err = b.limit.run(ctx, revisions)
	case cosignKey:
		r.cosignKey, err = b.cosign.attest(ctx, b.cosign.withKey, b.samples)
		r.cosignKey /= float64(b.samples)
	case cosignToken:
		r.cosignToken, err = b.cosign.attest(ctx, b.cosign.keyless, b.samples)
		r.cosignToken /= float64(b.samples)
	}
	return err
}

// backToBack follows revisions one after the other.
func (b *benchmark) backToBack(ctx context.Context, revisions int, r *round) error {
	before, err := b.floor.logSize(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	for range revisions {
		f, err := b.floor.follow(ctx, b.last+1)
		if err != nil {
			return fmt.Errorf("revision %d: %w", b.last+1, err)
		}
		b.last = f.revision
		r.followed = append(r.followed, f)
	}
	r.wall = time.Since(began).Seconds()
	after, err := b.floor.logSize(ctx)
	r.entries = after - before
	b.say("%d revisions in %.1f s", revisions, r.wall)
	return err
}

// span is how long after the poke a SIGKILL may come: sometimes when all is done.
func (b *benchmark) span() time.Duration {
	whole := b.of(func(t timing) float64 { return t.whole })
	return time.Duration(1.25 * whole.Median() * float64(time.Second))
}

// end stops the controller in order, and lets the API server and the watches come
// to an end with what it had asked.
func (b *benchmark) end() {
	b.floor.site.Controller().Stop(10 * time.Second)
	time.Sleep(2 * time.Second)
}

// read reads what the API server wrote down: of the undisturbed revisions what each
// waited for, and of both parts the writes that changed nothing.
func (b *benchmark) read(part int) error {
	all, err := readRequests(b.floor.cluster.AuditLog, b.since)
	if err != nil {
		return err
	}
	versions, _, _, lost := b.floor.seen.counts()
	if lost != nil {
		return lost
	}
	b.redundant[part] = redundant(all, versions)
	if part > 0 {
		b.places = map[string]int{}
		for _, d := range b.deaths {
			b.places[reached(all, d.poked, d.hit)]++
		}
		return nil
	}
	for i := range b.rounds {
		r := &b.rounds[i]
		for _, f := range r.followed {
			t, err := timingOf(all, f)
			if err != nil {
				return err
			}
			r.timings = append(r.timings, t)
			b.asked = append(b.asked, between(all, f.poked, f.ready)...)
		}
	}
	return nil
}

// recordName is the name of a record by its place in the chain.
func recordName(sequence int64) string {
	return v1alpha1.AppliedRevisionName(localfactory.Name, sequence)
}
