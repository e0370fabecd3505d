package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxIdle is how long a process waits for a question. After that it would only
// keep memory from others.
const maxIdle = 15 * time.Minute

// prepared is a policy process that has the policies, and the objects that answers
// about others depend on. Like every policy process it answers once, and nothing
// that it learns gets into another test.
type prepared struct {
	runner    Runner
	child     *child
	isolation string
	// blank is a process that was told nothing yet; told names the objects that one was
	// told.
	blank   bool
	told    []string
	objects []json.RawMessage
	idle    *time.Timer
}

// prepare starts a process and tells it what is known. An error costs nothing but
// the time that it would have saved.
func (r Runner) prepare(told []string, objects []json.RawMessage) (*prepared, error) {
	q, err := r.withDefaults().question(objects)
	if err != nil {
		return nil, err
	}
	q.request.More = true
	in, err := small(q.request.document())
	if err != nil {
		return nil, err
	}
	p, err := r.blank()
	if err != nil {
		return nil, err
	}
	p.blank, p.told, p.objects = false, told, objects
	go p.child.tell(in)
	return p, nil
}

// blank starts a process and tells it nothing.
func (r Runner) blank() (*prepared, error) {
	r = r.withDefaults()
	p := &prepared{runner: r, blank: true, isolation: IsolationProcess}
	if isolates {
		p.isolation = IsolationNetns
	}
	var err error
	p.child, err = r.start(p.isolation)
	if isolates && namespaceDenied(err) {
		p.isolation = IsolationProcess
		p.child, err = r.start(p.isolation)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCouldNotTell, err)
	}
	p.idle = time.AfterFunc(maxIdle, p.child.end)
	return p, nil
}

// test is [Runner.Test] of what the process was told and more objects, none of
// which is a policy where it was told anything.
func (p *prepared) test(ctx context.Context, more []json.RawMessage) (Verdict, error) {
	p.idle.Stop()
	defer p.child.end()
	q, err := p.runner.question(slices.Concat(p.objects, more))
	if err != nil {
		return Verdict{}, err
	}
	document := Rest{APIVersion: RestVersion, Objects: q.request.Objects[len(p.objects):]}.document
	if p.blank {
		close(p.child.told)
		document = q.request.document
	}
	in, err := small(document())
	if err != nil {
		return Verdict{}, err
	}
	out, err := p.child.ask(ctx, in)
	if err != nil {
		return Verdict{}, fmt.Errorf("%w: %w", ErrCouldNotTell, err)
	}
	return q.verdict(out, p.isolation)
}

// is says whether the process was told just this, by this runner; nil is nothing yet.
func (p *prepared) is(r Runner, told []string) bool {
	return p.runner == r.withDefaults() && p.blank == (told == nil) && slices.Equal(p.told, told)
}

// waits says whether there is a process that did not end meanwhile.
func (p *prepared) waits() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.child.ended:
		return false
	default:
		return true
	}
}

func (p *prepared) close() {
	p.idle.Stop()
	p.child.end()
}

// Ready has a process started for the next test and told what answers depend on,
// unless one waits already: what a revision that passed has of that, the next one
// most likely has too. Who calls it calls [Tester.Close] in the end. Without it
// tests take longer, and are the same.
func (t *Tester) Ready(r Runner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.last == nil {
		return
	}
	told := t.last.set.context()
	if t.next.waits() && t.next.is(r, told) {
		return
	}
	t.drop()
	next, err := r.prepare(told, t.last.set.around(nil, nil).raw())
	if err == nil {
		t.next = next
	}
}

// Begin has a process started for the test of a revision of which nothing is known,
// unless one waits already: it comes to life while its question is still made. Who calls
// it calls [Tester.Close] in the end.
func (t *Tester) Begin(r Runner) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.last != nil || t.next.waits() {
		return
	}
	t.drop()
	if next, err := r.blank(); err == nil {
		t.next = next
	}
}

// drop ends the process that waits.
func (t *Tester) drop() {
	if t.next != nil {
		t.next.close()
		t.next = nil
	}
}

// Close ends the process that waits for the next test.
func (t *Tester) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	t.drop()
}

// ask has objects tested by the process that waits, where that was told what they
// begin with, and otherwise by a new one. What the first could not tell is asked of a
// new one too, since it may have been ended meanwhile.
func (t *Tester) ask(ctx context.Context, r Runner, s set, told []string) (Verdict, error) {
	next := t.next
	if next == nil || !next.is(r, told) {
		return r.test(ctx, s.raw())
	}
	t.next = nil
	v, err := next.test(ctx, s.raw()[len(next.objects):])
	if errors.Is(err, ErrCouldNotTell) && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
		return r.test(ctx, s.raw())
	}
	return v, err
}
