package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// looks is how often the quick ones look in a round of W2.
const looks = 10

// quick says who is so fast that one look cannot be told from noise.
func (e entry) quick() bool { return e.name == millwright || e.name == limit }

// each is a share of a cost.
func (c cost) each(n float64) cost {
	c.wall, c.party, c.apiserver, c.store = c.wall/n, c.party/n, c.apiserver/n, c.store/n
	shared := requests{}
	for kind, count := range c.requests {
		shared[kind] = count / n
	}
	c.requests = shared
	return c
}

// nothing measures W2: a look at what has not changed, neither in Git nor in the
// cluster.
func (b *benchmark) nothing(ctx context.Context, _ *floor, entries []entry) error {
	for _, e := range entries { // what is done once is not what is asked for
		if err := e.turn(ctx, e.again); err != nil {
			return err
		}
	}
	for round := range b.rounds {
		b.say("W2, round %d of %d", round+1, b.rounds)
		for _, e := range entries {
			c, err := b.look(ctx, e)
			if err != nil {
				return err
			}
			b.results.note("W2", e.name, c)
		}
	}
	return nil
}

func (b *benchmark) look(ctx context.Context, e entry) (cost, error) {
	n := 1
	if e.quick() {
		n = looks
	}
	c, err := b.timed(ctx, e, "W2", func(ctx context.Context) error {
		for range n {
			began := time.Now()
			if err := e.again(ctx); err != nil {
				return err
			}
			b.sample("W2", e.name, time.Since(began).Seconds())
		}
		return nil
	})
	m, ours := e.party.(*millwrightParty)
	if err != nil || !ours {
		return c.each(float64(n)), err
	}
	// To see when a pass ends, the controller was asked for its metrics all the
	// time. What it uses is measured without that.
	unseen, err := m.unseen(ctx, n)
	unseen.wall = c.wall
	if len(unseen.requests) > 0 {
		b.say("requests while nobody asked for metrics: %s", unseen.requests.each())
	}
	return unseen.each(float64(n)), err
}

// unseen pokes the controller now and then, and makes sure that each poke was a
// pass.
func (m *millwrightParty) unseen(ctx context.Context, n int) (cost, error) {
	before, err := m.passes(ctx)
	if err != nil {
		return cost{}, err
	}
	c, err := m.measure(ctx, func(ctx context.Context) error {
		for range n {
			if err := m.floor.site.Poke(ctx); err != nil {
				return err
			}
			time.Sleep(200 * time.Millisecond)
		}
		return nil
	})
	if err != nil {
		return c, err
	}
	after, err := m.passes(ctx)
	if err == nil && after-before < float64(n) {
		err = fmt.Errorf("%d pokes made %.0f passes", n, after-before)
	}
	return c, err
}

// appTarget is an object of an app.
func appTarget(app int) target {
	return target{schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, appsNamespace, appName(app)}
}

// hasImage holds when the Deployment has the image.
func hasImage(want string) func(*unstructured.Unstructured) (bool, error) {
	return func(o *unstructured.Unstructured) (bool, error) {
		if o == nil {
			return false, errors.New("the Deployment is gone")
		}
		containers, _, err := unstructured.NestedSlice(o.Object, "spec", "template", "spec", "containers")
		if err != nil || len(containers) == 0 {
			return false, fmt.Errorf("the Deployment has no containers: %w", err)
		}
		first, _ := containers[0].(map[string]any)
		return first["image"] == want, nil
	}
}

// commits measures W3: from the push of a commit that changes one image to the
// moment at which a watch shows the changed Deployment.
func (b *benchmark) commits(ctx context.Context, f *floor, entries []entry) error {
	version := 1
	for _, e := range entries {
		taken := b.profiling(ctx, e, "commits")
		defer func() { _ = taken() }()
	}
	for round := range b.rounds {
		b.say("W3, round %d of %d", round+1, b.rounds)
		for step := range b.steps {
			version++
			if err := f.setImage(version, 0); err != nil {
				return err
			}
			commit, err := f.commit(ctx, fmt.Sprintf("image %d", version))
			if err != nil {
				return err
			}
			for _, e := range entries {
				if step > 0 && !e.quick() {
					continue
				}
				follow := func(ctx context.Context) error { return b.followOne(ctx, e, commit, image(version)) }
				if err := e.turn(ctx, follow); err != nil {
					return err
				}
			}
		}
	}
	return b.catchUp(ctx, f, entries)
}

// catchUp gives the slow ones, who have seen the first commits of each round only,
// the newest, and checks everybody.
func (b *benchmark) catchUp(ctx context.Context, f *floor, entries []entry) error {
	commit, err := f.site.Head(ctx, f.alice)
	if err != nil {
		return err
	}
	if err := f.declare(ctx); err != nil {
		return err
	}
	for _, e := range entries {
		if !e.quick() && b.steps > 1 {
			err := e.turn(ctx, func(ctx context.Context) error {
				if err := f.push(ctx, e.name, commit); err != nil {
					return err
				}
				return e.follow(ctx, commit)
			})
			if err != nil {
				return err
			}
		}
		if err := e.check(ctx, f.objects); err != nil {
			return err
		}
	}
	return nil
}

// followOne has a party follow a commit that it cannot know of before.
func (b *benchmark) followOne(ctx context.Context, e entry, commit, want string) error {
	seen, err := e.expect(ctx, appTarget(0), hasImage(want))
	if err != nil {
		return err
	}
	if err := e.floor.push(ctx, e.name, commit); err != nil {
		return err
	}
	var began time.Time
	c, err := b.counted(ctx, e, "W3", func(ctx context.Context) error {
		began = time.Now()
		return e.follow(ctx, commit)
	})
	if err != nil {
		return err
	}
	m := <-seen
	if m.err != nil {
		return m.err
	}
	c.wall = m.at.Sub(began).Seconds()
	b.sample("W3", e.name, c.wall)
	fmt.Fprintf(b.log, "  %-10s W3: changed after %.3f s\n", e.name, c.wall)
	b.results.note("W3", e.name, c)
	return nil
}
