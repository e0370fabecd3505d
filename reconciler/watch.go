package reconciler

import (
	"context"
	"errors"
	"strings"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/reconciler/source"
)

// beat is what heartbeats have told (rule T11). The newest one counts while the
// process lives: a server that takes it back, or shows an older one again, does
// not make it forgotten.
type beat struct {
	// looked names the heartbeat that was looked at last, and all that the answer
	// rests on; problem says why it does not count.
	looked, problem string
	// target is the commit that the newest good one names, at its proven time.
	target gitverify.ID
	at     time.Time
	// judged are the tip and the target that behind is about.
	judged string
	behind bool
}

// note keeps what was verified last. A revision that was in force before and is
// examined again says nothing new.
func (p *pass) note(v gitverify.Verification) {
	if !p.again || p.plant.newest.Commit() == "" {
		p.plant.newest = v
	}
}

// watch says how fresh the accepted history is, and whether something of it was
// revoked. It changes nothing of what is in force (rules T9 and T11).
func (p *pass) watch(ctx context.Context) {
	v := p.plant.newest
	if v.Commit() == "" {
		return
	}
	trust := report.Trust{Accepted: string(v.Commit()), Fresh: v.FreshAt(), MaxAge: v.MaxAge()}
	p.listen(ctx)
	b := p.plant.beat
	trust.Heartbeat = b.problem
	switch {
	case b.behind:
		trust.Behind = string(b.target)
	case b.at.After(trust.Fresh):
		trust.Fresh = b.at
	}
	revoked := v.Revoked()
	if len(revoked) > 0 {
		// What cannot be told counts as still there: it is an alarm.
		if standing, err := p.plant.verifier.Standing(ctx, p.plant.store, v); err == nil {
			revoked = standing
		}
	}
	for _, r := range revoked {
		trust.Revoked = append(trust.Revoked, report.Revoked{Commit: string(r.Commit), Why: r.Why})
	}
	p.out.Trust = &trust
}

// listen looks at the heartbeat that was fetched, and at whether what the
// newest one names is served.
func (p *pass) listen(ctx context.Context) {
	b, c := &p.plant.beat, p.checkout
	if key := strings.Join([]string{string(c.Heartbeat), p.plant.trust, string(p.plant.newest.Commit())}, " "); c.Heartbeat != "" && key != b.looked {
		seen, err := p.plant.verifier.Heartbeat(ctx, c.Objects(), gitverify.HeartbeatRequest{
			Tag: c.Heartbeat, Anchor: gitverify.ID(p.factory.Spec.Verify.Anchor), Mainline: p.mainline(),
		})
		b.problem = ""
		if err != nil {
			b.problem = err.Error()
		} else if b.outdated(ctx, c, seen) {
			b.target, b.at = seen.Target, seen.SignedAt
		}
		if no := (*gitverify.Refusal)(nil); err == nil || errors.As(err, &no) {
			b.looked = key
		}
	}
	// Who follows a tag is not served the branch that the heartbeat is about.
	if judged := string(c.Commit + " " + b.target); c.Commit != "" && c.Tag == "" && b.target != "" && judged != b.judged {
		b.judged, b.behind = judged, !onLine(ctx, c.Objects(), c.Commit, b.target)
	}
}

// outdated says that what is known is older than a heartbeat. Times are proven
// to the second: of two in the same one, what names a commit before the other's
// is older, and while a server is held to be behind, nothing as old ends that.
func (b *beat) outdated(ctx context.Context, c source.Checkout, seen gitverify.Heartbeat) bool {
	if !seen.SignedAt.Equal(b.at) {
		return seen.SignedAt.After(b.at)
	}
	return !b.behind && !onLine(ctx, c.Objects(), b.target, seen.Target)
}
