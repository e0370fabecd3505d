package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// death is a SIGKILL in a revision, and how long it took until all was done again.
type death struct {
	revision   int
	poked, hit time.Time
	// again says that it hit a controller that was coming back from one. Nothing
	// was measured between the two.
	again bool
	// steady is how long the next controller took, from the end of the one before;
	// 0 if it was killed in that time.
	steady float64
}

const (
	// oneIn restarts is hit by another SIGKILL.
	oneIn = 4
	// recovery is the time within which that happens.
	recovery = time.Second
)

// dying kills the controller at random moments of revisions, from one that was
// never seen on, until there were enough deaths.
func (b *benchmark) dying(ctx context.Context, kills int, within time.Duration) error {
	random := rand.New(rand.NewPCG(b.seed, 0))
	moment := func(within time.Duration) time.Duration { return time.Duration(random.Int64N(int64(within))) }
	for next := b.revisions + 1; len(b.deaths) < kills; next++ {
		if err := b.floor.push(ctx, next); err != nil {
			return err
		}
		d := death{revision: next, poked: time.Now()}
		if err := b.floor.site.Poke(ctx); err != nil {
			return err
		}
		if err := b.die(ctx, &d, moment(within)); err != nil {
			return err
		}
		for len(b.deaths)+1 < kills && random.IntN(oneIn) == 0 {
			b.deaths = append(b.deaths, d)
			d = death{revision: next, poked: d.poked, again: true}
			if err := b.die(ctx, &d, moment(recovery)); err != nil {
				return err
			}
		}
		if err := b.floor.steady(ctx, next); err != nil {
			return fmt.Errorf("after SIGKILL %d (seed %d), in revision %d: %w", len(b.deaths)+1, b.seed, next, err)
		}
		d.steady = time.Since(d.hit).Seconds()
		b.deaths = append(b.deaths, d)
		b.last = next
		if n := len(b.deaths); n%10 == 0 || n == kills {
			b.say("%d of %d SIGKILLs; the last restart took %.2f s", n, kills, d.steady)
		}
	}
	return nil
}

// die kills the controller after a time, and starts another one at once.
func (b *benchmark) die(ctx context.Context, d *death, after time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(after):
	}
	b.floor.site.KillController()
	d.hit = time.Now()
	return b.floor.launch(ctx)
}

func (f *floor) launch(ctx context.Context) error {
	return f.site.LaunchController(ctx, f.site.PolicyEngine(), f.flags()...)
}

// steady waits until a controller that was just started has made a pass, and after
// it the revision is applied, recorded and stored, and nothing is open. Before that
// pass the status is what its predecessor left.
func (f *floor) steady(ctx context.Context, revision int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := f.passed(ctx)
		if err == nil {
			err = f.settled(ctx, revision)
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited %s in vain: %w", patience, err)
		case <-f.site.Controller().Done():
			return fmt.Errorf("the controller has ended by itself: %w", f.site.Controller().Err())
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// passed says whether this process has ended a pass.
func (f *floor) passed(ctx context.Context) error {
	metrics, err := f.site.Metrics(ctx)
	if err == nil && metrics["millwright_passes_total"] == 0 {
		err = errors.New("it has made no pass yet")
	}
	return err
}

// settled reads the Factory and its newest record.
func (f *floor) settled(ctx context.Context, revision int) error {
	factory, err := localfactory.GetFactory(ctx, f.api)
	if err != nil {
		return err
	}
	if err := localfactory.Applied(f.commits[revision])(factory); err != nil {
		return err
	}
	var record v1alpha1.AppliedRevision
	name := recordName(factory.Status.Applied.Sequence)
	if err := f.api.Get(ctx, client.ObjectKey{Namespace: localfactory.Namespace, Name: name}, &record); err != nil {
		return err
	}
	if record.Spec.Commit != f.commits[revision] || !record.Status.Stored {
		return fmt.Errorf("record %s is of commit %.12s, stored: %t", name, record.Spec.Commit, record.Status.Stored)
	}
	return nil
}
