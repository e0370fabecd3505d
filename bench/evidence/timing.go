package main

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// timing is how long a revision waited, in seconds.
type timing struct {
	// before is what evidence adds before the first write: from the last answer
	// about the cluster until that write arrives. verdict is how much of it it takes until
	// the verdict is stored, server how long the API server works on that.
	before, verdict, server float64
	// after is the same after the last write: from the last answer about the cluster
	// until the record is in it. stored is from then until the registry has the
	// record and that is noted.
	after, stored float64
	// whole is from the poke until the Factory says that all is done.
	whole float64
}

// errUnseen is a revision whose requests are not those of one undisturbed pass.
var errUnseen = errors.New("the audit log does not show")

// timingOf reads the timing of a revision that nothing disturbed out of the
// controller's requests, which are in the order of arrival.
func timingOf(all []request, f followed) (timing, error) {
	mine := between(all, f.poked, f.ready)
	find := func(what string, from int, is func(request) bool) (int, error) {
		if i := slices.IndexFunc(mine[from:], is); i >= 0 {
			return from + i, nil
		}
		return 0, fmt.Errorf("%w %s of revision %d", errUnseen, what, f.revision)
	}
	verdict, err := find("the verdict", 0, request.verdict)
	if err != nil {
		return timing{}, err
	}
	first, err := find("a write", verdict, request.change)
	if err != nil {
		return timing{}, err
	}
	record, err := find("the record", first, request.record)
	if err != nil {
		return timing{}, err
	}
	stored, err := find("that the record is stored", record, request.stored)
	if err != nil {
		return timing{}, err
	}
	begun := slices.IndexFunc(mine, func(r request) bool { return r.object == mine[verdict].object || r.intent() }) // or asked for
	looked, last := answered(mine[:begun], f.poked, mine[begun].received), answered(mine[first:record], mine[first].done, mine[record].received)
	return timing{
		before: seconds(looked, mine[first].received), verdict: seconds(looked, mine[verdict].done), server: seconds(mine[verdict].received, mine[verdict].done),
		after: seconds(last, mine[record].done), stored: seconds(mine[record].done, mine[stored].done), whole: seconds(f.poked, f.ready),
	}, nil
}

// answered is when the last of some requests was answered, of those that were until
// a time; events are told on the side, and nobody waits for them.
func answered(some []request, from, until time.Time) time.Time {
	for _, r := range some {
		if r.resource != "events" && r.done.After(from) && !r.done.After(until) {
			from = r.done
		}
	}
	return from
}

func seconds(from, to time.Time) float64 { return to.Sub(from).Seconds() }

// The places where a SIGKILL can find a revision.
const (
	unasked    = "before the cluster was looked at"
	looking    = "before the verdict"
	decided    = "verdict stored"
	intended   = "verdict and intent stored"
	writing    = "first write done"
	recorded   = "record made"
	registered = "record in the registry"
)

func reachable() []string {
	return []string{unasked, looking, decided, intended, writing, recorded, registered}
}

// reached is how far a revision had come, by what the controller had written. One
// that is killed again had come as far as both together.
func reached(all []request, from, to time.Time) string {
	at, intent := 0, false
	for _, r := range between(all, from, to) {
		step := 0
		switch {
		case r.stored():
			step = 6
		case r.record():
			step = 5
		case r.change():
			step = 4
		case r.verdict():
			step = 2
		case r.intent():
			intent = true
		case r.resource != "events":
			step = 1
		}
		at = max(at, step)
	}
	if at == 2 && intent {
		at = 3
	}
	return reachable()[at]
}
