package reconciler

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/reconciler/source"
)

// remembered answers for a tip that already passed every stage under the same
// trusted root and above the same floors: nothing of its answer can have
// changed. A floor that somebody else's record added is asked for anew.
func (p *pass) remembered(c source.Checkout) (accepted, bool) {
	last := p.plant.last
	if last == nil || last.commit() != c.Commit || c.Tag != "" && last.tag != c.Tag || last.trust != p.plant.trust {
		return accepted{}, false
	}
	for _, floor := range p.floors() {
		if floor != last.commit() && !slices.Contains(last.floors, floor) {
			return accepted{}, false
		}
	}
	return *last, true
}

func (p *pass) remember(a accepted) accepted {
	if last := p.plant.last; last == nil || last.commit() != a.commit() {
		p.plant.pending = nil
	}
	a.trust, a.floors = p.plant.trust, p.floors()
	p.plant.last = &a
	return a
}

// refusal remembers what was refused, and everything that the answer rests on.
type refusal struct {
	input string
	err   error
	// accepted is the newest commit before a refused tip that verification let
	// through, when there is one.
	accepted gitverify.ID
}

// maxRefusals bounds the definite answers that are remembered: the tip's, and
// those of the accepted commits below it.
const maxRefusals = 8

// judged answers for a commit that was refused before. A definite no is not
// worked out again: it is final until commit, trusted root or floor are others.
func (p *pass) judged(c source.Checkout) (refusal, bool) {
	no, ok := p.plant.no[c.Tip()]
	return no, ok && no.input == p.input()
}

// judge remembers a definite no, and asks for what is missing.
func (p *pass) judge(c source.Checkout, err error) error {
	missing := errors.Is(err, gitverify.ErrObjectMissing) || errors.Is(err, source.ErrObjectDamaged)
	if missing && p.plant.refetched != c.Commit {
		// The store lacks what it should have, and a fetch would not notice: it
		// has the tip. Fetch all of it, once for each tip (fault I07).
		p.plant.refetched = c.Commit
		p.plant.store.Refetch()
	}
	// What a log has no entry of today it may have tomorrow.
	if !gitverify.FromLog(err) && report.Describe(err, report.ReasonVerifyUnknown).Class == report.No {
		if len(p.plant.no) >= maxRefusals {
			clear(p.plant.no)
		}
		p.plant.no[c.Tip()] = refusal{input: p.input(), err: err, accepted: p.halfway}
	}
	return err
}

func (p *pass) input() string {
	return fmt.Sprintf("%s %v %s", p.plant.trust, p.floors(), p.plant.source)
}

// lastGood is what is enforced when the tip is not: the newest accepted commit
// before it where the Factory permits that (rule T3), and otherwise the newest
// revision that was applied. From memory while the process lives; after a
// restart it is verified and rendered again like any other, from the objects in
// the store.
func (p *pass) lastGood(ctx context.Context) (accepted, error) {
	if partly, ok := p.partly(ctx); ok {
		return partly, nil
	}
	// A source that does not answer takes nothing back: what was accepted and
	// is not applied completely yet goes on.
	if last := p.plant.last; last != nil && p.out.Attempted == "" {
		if known, ok := p.remembered(p.plant.store.Checkout(last.commit(), p.mainline())); ok {
			return known, nil
		}
	}
	return p.floor(ctx)
}

// floor is the newest revision that evidence or status say was applied.
func (p *pass) floor(ctx context.Context) (accepted, error) {
	err := errors.New("nothing was applied yet")
	for _, floor := range p.floors() {
		if good := p.plant.good; good != nil && good.commit() == floor && p.attested(*good) {
			return *good, nil
		}
		checkout := p.plant.store.Checkout(floor, p.mainline())
		if known, ok := p.remembered(checkout); ok {
			return known, nil
		}
		// What is attested is its own floor. What only the status names has to
		// descend from that: an edited status takes nothing back (rule T10).
		below := *p
		below.factory, below.again = p.factory.DeepCopy(), true
		below.factory.Status.Applied = nil
		if string(floor) == p.head.commit {
			below.head, below.permitted = head{}, true
		}
		var revision accepted
		if revision, err = below.examine(ctx, checkout); err == nil {
			return revision, nil
		}
	}
	return accepted{}, err
}
