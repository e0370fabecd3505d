package tufroot

import "time"

// State says how far a trusted root may be relied upon.
type State string

// The states.
const (
	// Good: nothing has expired.
	Good State = "Good"
	// Stale: something has expired, but not longer than the grace ago. Go on,
	// and say so.
	Stale State = "Stale"
	// Frozen: past the grace. No new revision may be taken; what is in force
	// stays in force.
	Frozen State = "Frozen"
)

// Status describes the metadata behind the current trusted root.
type Status struct {
	// Versions of the metadata.
	Root, Timestamp, Snapshot, Targets int64
	// Expires is when the first of them does; zero for a file, which never does.
	Expires time.Time
	// Fetched is when the repository last said that this is current.
	Fetched time.Time
}

// State tells how far the trusted root may be relied upon at an instant. A
// clock that runs behind the last fetch is wrong by that much at least.
func (s Status) State(now time.Time, grace time.Duration) State {
	if now.Before(s.Fetched) {
		now = s.Fetched
	}
	switch {
	case s.Expires.IsZero(), !now.After(s.Expires):
		return Good
	case !now.After(s.Expires.Add(grace)):
		return Stale
	default:
		return Frozen
	}
}
