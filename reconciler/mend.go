package reconciler

import (
	"context"
	"time"
)

// The source is asked no later than this after it would have been, however often
// something is changed in the cluster meanwhile; and when nothing is any more,
// soon after.
const (
	longestMend = time.Second
	afterMend   = 200 * time.Millisecond
)

// hurt says that an object of the revision in force is not as it was left, so
// that putting it back need not wait for the source.
func (p *pass) hurt() bool {
	good := p.plant.good
	return good != nil && p.plant.enforced == good.name() && p.attested(*good) && !p.sweepDue() &&
		len(p.plant.setup.Watcher.Seen(p.plant.key)) > 0
}

// mend puts back what was changed, and says of the source what was said last. A
// pass that asks it again follows.
func (p *pass) mend(ctx context.Context) bool {
	now := p.plant.setup.Clock()
	first := p.plant.mending.IsZero()
	if !p.hurt() || !first && now.Sub(p.plant.mending) > longestMend {
		p.plant.mending = time.Time{}
		return false
	}
	if first {
		p.plant.mending = now
	}
	p.out.Mended, p.out.Refused = true, p.plant.refused
	p.enforce(ctx, *p.plant.good)
	return true
}
