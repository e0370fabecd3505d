package reconciler

import (
	"bytes"
	"context"
	"errors"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/source"
)

// acceptedBefore is the newest commit on the way to a refused tip that was
// accepted, or none (rule T3). It is evidence that the source is current to that
// point, and may be applied where the Factory permits it.
func (p *pass) acceptedBefore(ctx context.Context, tip source.Checkout, err error) gitverify.ID {
	var no *gitverify.Refusal
	if !errors.As(err, &no) || tip.Tag != "" {
		return "" // a tag stands for one commit, not for those before it
	}
	told, err := p.plant.verifier.Explain(ctx, tip.Objects(), p.request(tip, gitverify.ID(p.head.commit)))
	if err != nil || told.Accepted == tip.Commit || string(told.Accepted) == p.factory.Spec.Verify.Anchor {
		return ""
	}
	// What was accepted once and then dropped by a force-push is not on the way.
	if !onLine(ctx, tip.Objects(), tip.Commit, told.Accepted) {
		return ""
	}
	if _, err := p.verify(ctx, p.plant.store.Checkout(told.Accepted, p.mainline())); err != nil {
		return ""
	}
	return told.Accepted
}

// maxLine bounds the first parents that are followed.
const maxLine = 100_000

// onLine says whether a commit is on the line of first parents of id. It decides
// nothing about trust: the commit is verified for itself.
func onLine(ctx context.Context, objects gitverify.Objects, id, wanted gitverify.ID) bool {
	for range maxLine {
		if id == wanted {
			return id != ""
		}
		kind, body, err := objects.Object(ctx, id, 1<<20)
		if err != nil || kind != "commit" {
			return false
		}
		header, _, _ := bytes.Cut(body, []byte("\n\n"))
		_, parent, found := bytes.Cut(header, []byte("\nparent "))
		if !found || len(parent) < 40 {
			return false
		}
		id = gitverify.ID(parent[:40])
	}
	return false
}

// partly examines the newest accepted commit before a refused tip, if the
// Factory permits to apply it.
func (p *pass) partly(ctx context.Context) (accepted, bool) {
	if !p.factory.Spec.Verify.ApplyAccepted || p.halfway == "" || string(p.halfway) == p.head.commit {
		return accepted{}, false
	}
	checkout := p.plant.store.Checkout(p.halfway, p.mainline())
	if known, ok := p.remembered(checkout); ok {
		return known, true
	}
	if _, known := p.judged(checkout); known {
		return accepted{}, false
	}
	revision, err := p.examine(ctx, checkout)
	if err != nil {
		_ = p.judge(checkout, err) // what the tip was refused for is told
		return accepted{}, false
	}
	return revision, true
}
