package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"millwright.dev/millwright/bench/figures"
)

// harmedAtOnce is how many Deployments are changed by hand at once in W4.
const harmedAtOnce = 500

// onApps measures W7: thousands of objects, made, all changed by one commit, and
// then many of them harmed at once.
func (b *benchmark) onApps(ctx context.Context) error {
	// Argo CD is left out: a sixth of the objects took it more than a minute of CPU time.
	names := slices.DeleteFunc(b.names(), func(name string) bool { return name == argo })
	if b.takesPart(fluxOne) && b.wants(fluxMany) {
		names = append(names, fluxMany)
	}
	f, err := b.newFloor(ctx, "apps", corpus{apps: b.apps}, names)
	if err != nil {
		return err
	}
	defer f.site.Stop()
	version := 1
	rounds := max(1, b.rounds/3)
	for round := range rounds {
		b.say("W7, round %d of %d", round+1, rounds)
		base := f.objects
		version++
		if err := b.changeAll(f, version); err != nil {
			return err
		}
		old, err := f.site.Head(ctx, f.alice)
		if err != nil {
			return err
		}
		commit, err := f.commit(ctx, fmt.Sprintf("all images %d", version))
		if err != nil {
			return err
		}
		if err := f.declare(ctx); err != nil {
			return err
		}
		to := revisions{base: base, old: old, changed: f.objects, commit: commit}
		for _, name := range figures.Turn(names, round) {
			if err := b.appsOnce(ctx, f, name, to, filepath.Join(b.dir, fmt.Sprintf("w7-%d-%s", round, name))); err != nil {
				return err
			}
		}
		f.objects = to.changed
	}
	return nil
}

// revisions are the two of a round, with what they declare.
type revisions struct {
	base, changed []*unstructured.Unstructured
	old, commit   string
}

func (b *benchmark) appsOnce(ctx context.Context, f *floor, name string, to revisions, dir string) error {
	f.objects = to.base
	e, c, err := b.first(ctx, f, name, to.old, dir)
	if err != nil {
		return err
	}
	defer e.stop()
	b.results.note("W7 create", name, c)
	f.objects = to.changed
	if err := f.push(ctx, name, to.commit); err != nil {
		return err
	}
	if c, err = b.timed(ctx, e, "W7 change", func(ctx context.Context) error { return e.follow(ctx, to.commit) }); err != nil {
		return err
	}
	if err := e.check(ctx, f.objects); err != nil {
		return err
	}
	b.results.note("W7 change", name, c)
	if name == fluxMany || !b.wants("w4") {
		return nil
	}
	return b.burst(ctx, e, harmedAtOnce)
}

func (b *benchmark) changeAll(f *floor, version int) error {
	all := make([]int, b.apps)
	for i := range all {
		all[i] = i
	}
	return f.setImage(version, all...)
}
