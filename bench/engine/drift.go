package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// rogue is somebody who changes an object in the cluster by hand.
type rogue struct {
	what   string
	target target
	object *unstructured.Unstructured
	// patch is a JSON patch (RFC 6902); without one the object is deleted.
	patch string
}

// perKind is how many objects of a kind are harmed in turn: one that is put back again
// and again within two minutes is fought over, and damped.
const perKind = 12

// rogues finds objects of each kind that somebody would change, and how, a kind after
// the other.
func (b *bed) rogues(objects []*unstructured.Unstructured) ([]rogue, error) {
	places, err := b.places(objects)
	if err != nil {
		return nil, err
	}
	turns, found := make([][]rogue, perKind), map[string]int{}
	for _, o := range objects {
		what, patch := harm(o)
		turn := found[what]
		if what == "" || turn == perKind {
			continue
		}
		found[what]++
		p := places[o.GroupVersionKind()]
		t := target{p.resource, "", o.GetName()}
		if p.namespaced {
			t.namespace = namespaceOf(o, p)
		}
		turns[turn] = append(turns[turn], rogue{what, t, o, patch})
	}
	return slices.Concat(turns...), nil
}

// harm is what is done to an object of a kind, if anything.
func harm(o *unstructured.Unstructured) (what, patch string) {
	switch o.GetKind() {
	case "Deployment":
		if o.GetNamespace() == appsNamespace {
			return "image of a Deployment", `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"rogue.test/app:1"}]`
		}
	case "ConfigMap":
		data, _, _ := unstructured.NestedStringMap(o.Object, "data")
		for key := range data {
			key = strings.NewReplacer("~", "~0", "/", "~1").Replace(key)
			return "value in a ConfigMap", `[{"op":"replace","path":"/data/` + key + `","value":"rogue"}]`
		}
	case "ClusterRole":
		if rules, _, _ := unstructured.NestedSlice(o.Object, "rules"); len(rules) > 0 {
			return "verbs of a ClusterRole", `[{"op":"replace","path":"/rules/0/verbs","value":["*"]}]`
		}
	case "Service":
		if o.GetNamespace() == appsNamespace {
			return "selector of a Service", `[{"op":"replace","path":"/spec/selector/app","value":"rogue"}]`
		}
	case "CustomResourceDefinition":
		if o.GetLabels()["bench"] != "" {
			return "label of a definition", `[{"op":"remove","path":"/metadata/labels/bench"}]`
		}
	case "Ingress":
		return "whole Ingress", ""
	}
	return "", ""
}

func (r rogue) act(ctx context.Context, b *bed) error {
	api := r.target.in(b.api)
	if r.patch == "" {
		return api.Delete(ctx, r.target.name, metav1.DeleteOptions{})
	}
	_, err := api.Patch(ctx, r.target.name, types.JSONPatchType, []byte(r.patch), metav1.PatchOptions{FieldManager: "rogue"})
	return err
}

// restored holds when an object that was seen harmed says again what it said.
func restored(before string) func(*unstructured.Unstructured) (bool, error) {
	harmed := false
	return func(o *unstructured.Unstructured) (bool, error) {
		good := o != nil && content(o) == before
		harmed = harmed || !good
		return harmed && good, nil
	}
}

// drift measures W4: single changes by hand, each waited for, and then a time in
// which nothing happens.
func (b *benchmark) drift(ctx context.Context, f *floor, entries []entry) error {
	for round := range b.rounds {
		b.say("W4, round %d of %d", round+1, b.rounds)
		for _, e := range entries {
			all, err := e.rogues(f.objects)
			if err != nil {
				return err
			}
			n := b.rogues
			switch {
			case e.name == argo: // it watches, too
				n = min(n, 6)
			case !e.quick():
				n = 2
			}
			for i := range n {
				restore := func(ctx context.Context) error {
					return b.restore(ctx, e, all[(round*n+i)%len(all)], "W4", e.repair)
				}
				if err := e.turn(ctx, restore); err != nil {
					return err
				}
			}
		}
	}
	for _, e := range entries {
		if x, ok := e.party.(*fluxParty); ok {
			if err := b.fluxAlone(ctx, e, x, f); err != nil {
				return err
			}
		}
		if err := e.check(ctx, f.objects); err != nil {
			return err
		}
	}
	return b.quiet(ctx, entries)
}

// between is the rest after a single rogue write: what is measured is how long one
// lasts, not how long one waits for what follows from the one before. Many at once
// are measured by themselves.
const between = 500 * time.Millisecond

// restore has a rogue act, the party told, and takes the time from the rogue's
// answer to the restored object.
func (b *benchmark) restore(ctx context.Context, e entry, r rogue, workload string, tell func(context.Context) error) error {
	live, err := r.target.in(e.api).Get(ctx, r.target.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	e.floor.broken = []*unstructured.Unstructured{r.object}
	seen, err := e.expect(ctx, r.target, restored(content(live)))
	if err != nil {
		return err
	}
	if err := r.act(ctx, e.bed); err != nil {
		return fmt.Errorf("harming the %s: %w", r.what, err)
	}
	began := time.Now()
	if err := tell(ctx); err != nil {
		return err
	}
	m := <-seen
	if m.err != nil {
		return fmt.Errorf("%s, %s: %w", e.name, r.what, m.err)
	}
	took := max(m.at.Sub(began), 0).Seconds()
	time.Sleep(between)
	fmt.Fprintf(b.log, "  %-10s %s: %s put back after %.1f ms\n", e.name, workload, r.what, took*1e3)
	b.sample(workload, e.name, took)
	b.sample(workload+" "+r.what, e.name, took)
	return nil
}

// fluxAlone measures Flux as it finds drift by itself, with an interval of ten
// seconds, the shortest in use.
func (b *benchmark) fluxAlone(ctx context.Context, e entry, x *fluxParty, f *floor) error {
	all, err := e.rogues(f.objects)
	if err != nil {
		return err
	}
	interval := func(d string) error {
		_, err := x.kustomization(0).in(e.api).Patch(ctx, x.kustomization(0).name, types.MergePatchType, []byte(`{"spec":{"interval":"`+d+`"}}`), metav1.PatchOptions{})
		return err
	}
	if err := interval("10s"); err != nil {
		return err
	}
	for i := range 3 {
		nobody := func(context.Context) error { return nil }
		if err := b.restore(ctx, e, all[i%len(all)], "W4 by itself", nobody); err != nil {
			return err
		}
	}
	return errors.Join(interval("24h"), e.again(ctx))
}

// settled is how long it takes until what was told of is over: drift is on record a
// minute after it was seen.
const settled = 70 * time.Second

// quiet is a time in which nothing happens.
func (b *benchmark) quiet(ctx context.Context, entries []entry) error {
	if b.soak == 0 {
		return nil
	}
	b.say("nothing happens for %s", b.soak)
	if !b.quick {
		time.Sleep(settled)
	}
	costs, errs := make([]cost, len(entries)), make([]error, len(entries))
	var all sync.WaitGroup
	for i, e := range entries {
		all.Go(func() {
			costs[i], errs[i] = b.timed(ctx, e, "quiet", func(ctx context.Context) error {
				select {
				case <-ctx.Done():
				case <-time.After(b.soak):
				}
				return ctx.Err()
			})
		})
	}
	all.Wait()
	for i, e := range entries {
		if errs[i] == nil {
			b.results.note("quiet", e.name, costs[i])
		}
	}
	return errors.Join(errs...)
}

// burst has many Deployments harmed at once and waits until all are restored.
// The time is taken from the last rogue's answer; what the rogues cost the API
// server is part of the rest.
func (b *benchmark) burst(ctx context.Context, e entry, n int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	deployments := appTarget(0).resource
	w, err := e.api.Resource(deployments).Namespace(appsNamespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	list, err := e.api.Resource(deployments).Namespace(appsNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	waiting := map[string]func(*unstructured.Unstructured) (bool, error){}
	var harmed []rogue
	for i := range list.Items[:min(n, len(list.Items))] {
		o := &list.Items[i]
		_, patch := harm(o)
		waiting[o.GetName()] = restored(content(o))
		harmed = append(harmed, rogue{"", target{deployments, appsNamespace, o.GetName()}, o, patch})
	}
	done := make(chan moment, 1)
	go func() { done <- allRestored(w, waiting) }()
	var last time.Time
	var m moment
	c, err := b.timed(ctx, e, "W4 burst", func(ctx context.Context) error {
		if err := b.harmAll(ctx, e, harmed); err != nil {
			return err
		}
		last = time.Now()
		if err := e.repair(ctx); err != nil {
			return err
		}
		m = <-done
		return m.err
	})
	if err != nil {
		return err
	}
	c.wall = max(m.at.Sub(last), 0).Seconds()
	fmt.Fprintf(b.log, "  %-10s W4 burst: all put back %.3f s after the last change\n", e.name, c.wall)
	b.results.note("W4 burst", e.name, c)
	return nil
}

func allRestored(w watch.Interface, waiting map[string]func(*unstructured.Unstructured) (bool, error)) moment {
	for event := range w.ResultChan() {
		o, ok := event.Object.(*unstructured.Unstructured)
		if !ok || event.Type == watch.Error {
			return moment{err: fmt.Errorf("watching Deployments: %v", event.Object)}
		}
		fits := waiting[o.GetName()]
		if fits == nil {
			continue
		}
		if good, _ := fits(o); good {
			delete(waiting, o.GetName())
		}
		if len(waiting) == 0 {
			return moment{at: time.Now()}
		}
	}
	return moment{err: fmt.Errorf("%d Deployments were not restored", len(waiting))}
}

// harmAll has all rogues act, sixteen at a time, and tells the limit program
// what to send.
func (b *benchmark) harmAll(ctx context.Context, e entry, harmed []rogue) error {
	e.floor.broken = nil
	errs := make([]error, len(harmed))
	turns := make(chan struct{}, othersAtOnce)
	var acting sync.WaitGroup
	for i, r := range harmed {
		for _, o := range e.floor.objects {
			if o.GetKind() == "Deployment" && o.GetName() == r.target.name && o.GetNamespace() == appsNamespace {
				e.floor.broken = append(e.floor.broken, o)
			}
		}
		turns <- struct{}{}
		acting.Go(func() {
			defer func() { <-turns }()
			errs[i] = r.act(ctx, e.bed)
		})
	}
	acting.Wait()
	return errors.Join(errs...)
}
