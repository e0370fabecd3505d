package reconciler

import (
	"context"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/report"
)

// beat is the heartbeat that was looked at last.
type beat struct{}

// note keeps what was verified last. A revision that was in force before and is
// examined again says nothing new.
func (p *pass) note(v gitverify.Verification) {
	if !p.again || p.plant.newest.Commit() == "" {
		p.plant.newest = v
	}
}

// watch says how fresh the accepted history is, and whether something of it was
// revoked. It changes nothing of what is in force (rules T9 and T11).
func (p *pass) watch(_ context.Context) {
	v := p.plant.newest
	if v.Commit() == "" {
		return
	}
	trust := report.Trust{Accepted: string(v.Commit()), Fresh: v.FreshAt(), MaxAge: v.MaxAge()}
	for _, r := range v.Revoked() {
		trust.Revoked = append(trust.Revoked, report.Revoked{Commit: string(r.Commit), Why: r.Why})
	}
	p.out.Trust = &trust
}
