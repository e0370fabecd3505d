package main

import (
	"fmt"
	"time"
)

// reminder is how often an alarm that lasts is said again; events are forgotten
// after an hour.
const reminder = 30 * time.Minute

// ledger remembers since when runs are not signed. It knows nothing of the time
// before it was made: after a restart the grace begins anew.
type ledger struct {
	grace time.Duration
	runs  map[string]*account // by UID
}

type account struct {
	last  verdict
	since time.Time            // first seen not signed, without a break
	said  map[string]time.Time // by cause, when the alarm was said last
}

func newLedger(grace time.Duration) *ledger {
	return &ledger{grace: grace, runs: map[string]*account{}}
}

// alarm is what is to be said of a run.
type alarm struct {
	run     buildRun
	verdict verdict
	since   time.Time
}

func (a alarm) message(now time.Time) string {
	return fmt.Sprintf("%s: %s (%s for %s)", a.verdict.cause, a.verdict.detail, a.verdict.state, now.Sub(a.since).Round(time.Second))
}

// note takes the verdicts of one pass. It returns alarms, runs about which there is
// another verdict than before, and when the next grace ends; zero if none does.
func (l *ledger) note(now time.Time, runs []buildRun, verdicts []verdict) (alarms []alarm, changed []int, next time.Time) {
	kept := map[string]*account{}
	for i, r := range runs {
		v := verdicts[i]
		a := l.runs[r.uid]
		if a == nil {
			a = &account{}
		}
		kept[r.uid] = a
		if a.last.state != v.state || a.last.cause != v.cause {
			changed = append(changed, i)
		}
		a.last = v
		if v.state == signed {
			a.since, a.said = time.Time{}, nil
			continue
		}
		if a.since.IsZero() {
			a.since, a.said = now, map[string]time.Time{}
		}
		due := a.since.Add(l.grace)
		if said, before := a.said[v.cause]; before {
			due = said.Add(reminder)
		}
		if !now.Before(due) {
			a.said[v.cause] = now
			alarms = append(alarms, alarm{r, v, a.since})
			continue
		}
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	l.runs = kept
	return alarms, changed, next
}

// unsaid takes back that an alarm was said, since its event was not written: the
// next pass says it again.
func (l *ledger) unsaid(a alarm) {
	if account := l.runs[a.run.uid]; account != nil {
		delete(account.said, a.verdict.cause)
	}
}
