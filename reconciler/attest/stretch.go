package attest

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Stretch says what became of the revision in force from one moment to another.
// The stretches of a chain touch: each begins where the record before ends, so
// that time in which nobody looked is in a record too, as a gap.
//
// A moment is the beginning of a look. Whatever was changed before it is found
// by that look; so between two looks that are joined nothing can have happened
// unseen. They are joined if every watch held from the one to the other, or if
// every object was found in the very version that it had before.
type Stretch struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Looks that were taken at everything, of which Sweeps went by lists and
	// whatever the watches told; Objects is how many objects the last of them saw.
	Looks   int  `json:"looks"`
	Sweeps  int  `json:"sweeps"`
	Objects int  `json:"objects"`
	Gaps    Gaps `json:"gaps"`
	// Drift that was seen in the stretch. Its own times may reach beyond it.
	Drift Sightings `json:"drift"`
}

// Gaps are the parts of a stretch for which nothing is claimed, oldest first.
// When there are more than [MaxGaps], neighbours are merged, so that Entries
// covers all of them; Total counts them as they were.
type Gaps struct {
	Total   int   `json:"total"`
	Entries []Gap `json:"entries"`
}

// Gap is a part of a stretch in which something could have happened unseen.
type Gap struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Reason is restart, watch, unobserved, suspended, attempt or merged.
	Reason string `json:"reason"`
}

// Reasons of gaps.
const (
	// GapRestart: the process began in it, and did not find everything as the
	// record before left it.
	GapRestart = "restart"
	// GapWatch: a watch broke, and objects had been written when it was back.
	GapWatch = "watch"
	// GapUnobserved: some objects could not be looked at, or not be put back.
	GapUnobserved = "unobserved"
	// GapSuspended: the Factory was suspended.
	GapSuspended = "suspended"
	// GapAttempt: another revision was begun and given up.
	GapAttempt = "attempt"
	// GapMerged: several, with what was between them.
	GapMerged = "merged"
)

// Sightings are the drift of a stretch: the newest [MaxDrift]; Total counts all.
type Sightings struct {
	Total   int        `json:"total"`
	Entries []Sighting `json:"entries"`
}

// Sighting is one object that was not as declared although no commit said so.
// It names fields and writers, never values.
type Sighting struct {
	// Object as people write it: Kind.group namespace/name.
	Object    string `json:"object"`
	Component string `json:"component"`
	// Paths of the fields, at most [MaxPaths]; "." is an object that was deleted.
	Paths []string `json:"paths"`
	// Managers that wrote them, and the operations (Apply, Update) by which, as
	// far as the object tells.
	Managers   []string `json:"managers"`
	Operations []string `json:"operations"`
	// After is the last look that found the object in order; ChangedOn is when
	// it was changed, where the object tells; SeenOn is when that was found; and
	// EndedOn when it was as declared again, absent while it is not.
	After     time.Time `json:"after,omitzero"`
	ChangedOn time.Time `json:"changedOn,omitzero"`
	SeenOn    time.Time `json:"seenOn"`
	EndedOn   time.Time `json:"endedOn,omitzero"`
	// Action is corrected, reported, fight, mutated or failed.
	Action string `json:"action"`
}

// Actions on drift.
const (
	ActionCorrected = "corrected"
	// ActionReported: the configuration says to report it and leave it.
	ActionReported = "reported"
	// ActionFight: it comes back, and is put back ever more rarely.
	ActionFight = "fight"
	// ActionMutated: admission changes what is declared while it is applied.
	ActionMutated = "mutated"
	// ActionFailed: it could not be put back.
	ActionFailed = "failed"
)

// MaxGaps bounds the gaps of one stretch.
const MaxGaps = 50

// NewGaps bounds a list of gaps, oldest first: what is left out would look
// covered, so neighbours become one gap instead, those nearest to each other
// first.
func NewGaps(all []Gap) Gaps {
	g := Gaps{Total: len(all), Entries: slices.Clone(all)}
	for len(g.Entries) > MaxGaps {
		nearest := 1
		for i := 2; i < len(g.Entries); i++ {
			if distance(g.Entries, i) < distance(g.Entries, nearest) {
				nearest = i
			}
		}
		g.Entries[nearest-1] = Gap{From: g.Entries[nearest-1].From, To: g.Entries[nearest].To, Reason: GapMerged}
		g.Entries = slices.Delete(g.Entries, nearest, nearest+1)
	}
	return g
}

func distance(gaps []Gap, i int) time.Duration { return gaps[i].From.Sub(gaps[i-1].To) }

// NewSightings bounds a list of sightings, oldest first.
func NewSightings(all []Sighting) Sightings {
	return Sightings{Total: len(all), Entries: slices.Clone(all[max(0, len(all)-MaxDrift):])}
}

// tidy brings what strangers can choose into bounds and gives empty lists one
// spelling. The input is not changed.
func (s Stretch) tidy() Stretch {
	s.From, s.To = utc(s.From), utc(s.To)
	gaps := make([]Gap, 0, len(s.Gaps.Entries))
	for _, g := range s.Gaps.Entries {
		gaps = append(gaps, Gap{From: utc(g.From), To: utc(g.To), Reason: g.Reason})
	}
	s.Gaps.Entries = gaps
	seen := make([]Sighting, 0, len(s.Drift.Entries))
	for _, e := range s.Drift.Entries {
		seen = append(seen, Sighting{
			Object: clean(e.Object, maxText), Component: clean(e.Component, maxText), Action: e.Action,
			Paths: texts(e.Paths, MaxPaths, path), Managers: texts(e.Managers, maxManagers, manager),
			Operations: texts(e.Operations, maxManagers, manager),
			After:      utc(e.After), ChangedOn: utc(e.ChangedOn), SeenOn: utc(e.SeenOn), EndedOn: utc(e.EndedOn),
		})
	}
	s.Drift.Entries = seen
	return s
}

func (s Stretch) validate() error {
	if !isMoment(s.From) || !isMoment(s.To) || s.To.Before(s.From) {
		return errors.New("enforced.from and enforced.to must be UTC times of whole milliseconds, in this order")
	}
	if min(s.Looks, s.Sweeps, s.Objects) < 0 || s.Sweeps > s.Looks {
		return errors.New("enforced.looks, sweeps or objects is out of bounds")
	}
	return errors.Join(s.validateGaps(), s.validateDrift())
}

func (s Stretch) validateGaps() error {
	n := len(s.Gaps.Entries)
	if s.Gaps.Total < n || n > MaxGaps || n < min(s.Gaps.Total, MaxGaps) {
		return errors.New("enforced.gaps is out of bounds")
	}
	at := s.From
	for _, g := range s.Gaps.Entries {
		if !isMoment(g.From) || !isMoment(g.To) || g.From.Before(at) || g.To.Before(g.From) || g.To.After(s.To) {
			return errors.New("enforced.gaps are not in order and within the stretch")
		}
		if !slices.Contains([]string{GapRestart, GapWatch, GapUnobserved, GapSuspended, GapAttempt, GapMerged}, g.Reason) {
			return fmt.Errorf("the reason of a gap is %q", clean(g.Reason, maxText))
		}
		at = g.To
	}
	return nil
}

func (s Stretch) validateDrift() error {
	n := len(s.Drift.Entries)
	if s.Drift.Total < n || n > MaxDrift || n < min(s.Drift.Total, MaxDrift) {
		return errors.New("enforced.drift is out of bounds")
	}
	for _, e := range s.Drift.Entries {
		if err := e.validate(); err != nil {
			return fmt.Errorf("drift of %q: %w", clean(e.Object, maxText), err)
		}
	}
	return nil
}

func (e Sighting) validate() error {
	if requireText("object", e.Object) != nil || len(e.Paths) > MaxPaths || len(e.Managers) > maxManagers || len(e.Operations) > maxManagers {
		return errors.New("out of bounds")
	}
	for _, t := range []time.Time{e.After, e.ChangedOn, e.EndedOn} {
		if !t.IsZero() && !isMoment(t) {
			return errors.New("its times are not UTC times of whole milliseconds")
		}
	}
	if !isMoment(e.SeenOn) || !e.EndedOn.IsZero() && e.EndedOn.Before(e.SeenOn) {
		return errors.New("seenOn is missing, or after endedOn")
	}
	switch e.Action {
	case ActionCorrected:
		if e.EndedOn.IsZero() {
			return errors.New("corrected, and not over")
		}
	case ActionReported, ActionFight, ActionMutated, ActionFailed:
	default:
		return fmt.Errorf("action is %q", clean(e.Action, maxText))
	}
	return nil
}

func isMoment(t time.Time) bool { return !t.IsZero() && t.Equal(utc(t)) && t.Location() == time.UTC }
