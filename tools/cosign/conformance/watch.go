package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// passTimeout bounds one pass; images that were not asked about until then are unknown.
const passTimeout = 2 * time.Minute

// atOnce is how many images are asked about at the same time.
const atOnce = 4

// watcher goes over the runs again and again.
type watcher struct {
	options  options
	log      *slog.Logger
	cluster  cluster
	registry registry
	ledger   *ledger
	page     *page
}

// loop makes passes until it is told to end, or the page cannot be served.
func (w *watcher) loop(ctx context.Context, failed <-chan error) error {
	for {
		next, err := w.pass(ctx)
		if err != nil && ctx.Err() == nil {
			w.log.Error("the pass failed", "error", err)
		}
		pause := w.options.interval
		if !next.IsZero() { // a grace ends before the next pass
			pause = min(pause, max(time.Until(next), 0)+time.Millisecond)
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-time.After(pause):
		}
	}
}

// pass looks at the runs once. It returns when the next grace ends.
func (w *watcher) pass(ctx context.Context) (time.Time, error) {
	// Keys may have been changed: they are read every time.
	keys, err := loadVerifier(w.options.trust)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading whom to trust: %w", err)
	}
	runs, err := w.cluster.runs(ctx, w.options.namespaces, w.options.last)
	if err != nil {
		return time.Time{}, err
	}
	verdicts := w.judgeAll(ctx, keys, runs)
	if ctx.Err() != nil { // told to end: what was not answered says nothing
		return time.Time{}, ctx.Err()
	}
	now := time.Now()
	alarms, changed, next := w.ledger.note(now, runs, verdicts)
	for _, i := range changed {
		w.log.Info("run", "namespace", runs[i].namespace, "name", runs[i].name, "state", verdicts[i].state, "cause", verdicts[i].cause, "detail", verdicts[i].detail)
	}
	w.page.set(now, verdicts)
	w.raise(ctx, now, alarms)
	return next, nil
}

// raise says alarms. One whose event cannot be written is said in the log all the same.
func (w *watcher) raise(ctx context.Context, now time.Time, alarms []alarm) {
	for _, a := range alarms {
		w.log.Warn("RunUnsigned", "namespace", a.run.namespace, "name", a.run.name, "message", a.message(now))
		if err := w.cluster.warn(ctx, a, now); err != nil {
			w.log.Error("the event was not written", "namespace", a.run.namespace, "name", a.run.name, "error", err)
			w.ledger.unsaid(a)
		}
	}
}

// judgeAll asks about each image once, however many runs built it.
func (w *watcher) judgeAll(ctx context.Context, keys *verifier, runs []buildRun) []verdict {
	ctx, cancel := context.WithTimeout(ctx, passTimeout)
	defer cancel()
	images, problems := make([]image, len(runs)), make([]error, len(runs))
	answers := map[image]*answer{}
	for i, r := range runs {
		if images[i], problems[i] = imageOf(r, w.options.expected.registry); problems[i] == nil {
			answers[images[i]] = &answer{}
		}
	}
	var wait sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, a := range answers {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			*a = w.ask(ctx, keys, i)
		})
	}
	wait.Wait()
	verdicts := make([]verdict, len(runs))
	for i, r := range runs {
		a := answers[images[i]]
		if a == nil {
			a = &answer{}
		}
		verdicts[i] = judge(r, problems[i], *a, w.options.expected)
	}
	return verdicts
}

func (w *watcher) ask(ctx context.Context, keys *verifier, i image) answer {
	all, err := w.registry.attestations(ctx, i)
	if err != nil {
		return answer{err: err}
	}
	return keys.answer(ctx, i, all, w.options.expected)
}
