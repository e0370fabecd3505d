package gitverify

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

var logStart = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// view is a proof of a leaf in a tree of a log, taken in some minutes after
// the start.
func view(origin string, size, index uint64, root, leaf byte, minutes int) proof {
	return proof{seen: checkpoint{
		origin: origin, key: "k", size: size, index: index, root: [32]byte{root}, leaf: [32]byte{leaf},
		entered: logStart.Add(time.Duration(minutes) * time.Minute),
	}}
}

func TestALogThatContradictsItselfIsRefused(t *testing.T) { // row B27
	t.Parallel()
	untimed := view("a", 9, 1, 9, 1, 0)
	untimed.seen.entered = time.Time{}
	otherKey := view("a", 5, 1, 9, 9, 0)
	otherKey.seen.key = "other"
	tests := map[string]struct {
		before    []proof
		bad, good proof
	}{
		"two trees of one size":                    {[]proof{view("a", 5, 1, 1, 1, 0)}, view("a", 5, 2, 2, 2, 0), view("a", 5, 2, 1, 2, 0)},
		"two entries at one place":                 {[]proof{view("a", 5, 1, 1, 1, 0)}, view("a", 6, 1, 2, 2, 0), view("a", 6, 1, 2, 1, 0)},
		"a log that was cut back":                  {[]proof{view("a", 90, 80, 1, 1, 0)}, view("a", 70, 60, 2, 2, 30), view("a", 95, 90, 2, 2, 30)},
		"a log that was cut back, seen in reverse": {[]proof{view("a", 70, 60, 2, 2, 30)}, view("a", 90, 80, 1, 1, 0), view("a", 60, 50, 1, 1, 0)},
		"cut back among many": {
			[]proof{view("a", 10, 9, 1, 1, 0), view("a", 20, 19, 2, 2, 10), view("a", 30, 29, 3, 3, 20), view("a", 40, 39, 4, 4, 30), view("a", 50, 49, 5, 5, 60)},
			view("a", 36, 35, 6, 6, 55), view("a", 46, 45, 6, 6, 55),
		},
		"an entry without a time":  {[]proof{view("a", 5, 1, 1, 1, 0), untimed}, view("a", 9, 3, 8, 3, 0), view("a", 9, 3, 9, 3, 0)},
		"another key, another log": {[]proof{view("a", 5, 1, 1, 1, 0)}, view("a", 5, 1, 9, 1, 0), otherKey},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c checkpoints
			for _, p := range append(tt.before, tt.before...) { // each twice: nothing contradicts itself
				if err := c.admit(p); err != nil {
					t.Fatal(err)
				}
			}
			var no *Refusal
			if err := c.admit(tt.bad); !errors.As(err, &no) || no.Code != "log/inconsistent" || no.Reason != "LogInconsistent" {
				t.Errorf("got %v", err)
			}
			if err := c.admit(tt.good); err != nil { // also: the refused one left nothing behind
				t.Errorf("the twin: %v", err)
			}
		})
	}
}

func TestOneLogsTreesAndOrdersSayNothingAboutAnothers(t *testing.T) {
	t.Parallel()
	var c checkpoints
	for i, p := range []proof{
		view("a", 5, 4, 1, 1, 0), view("b", 5, 4, 2, 2, 0), view("b", 1, 0, 3, 3, 60),
		view("a", 9, 1, 4, 4, 9),  // out of order, but within a log's slack
		view("a", 99, 2, 5, 5, 0), // an old entry with a newer proof
	} {
		if err := c.admit(p); (err != nil) != (i == 2) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestTheMemoryOfCheckpointsIsBounded(t *testing.T) {
	t.Parallel()
	var c checkpoints
	var wait sync.WaitGroup
	for _, origin := range []string{"a", "b"} {
		wait.Go(func() {
			for i := range uint64(maxCheckpoints) {
				p := view(origin, i+1, i, 1, 1, 0)
				p.seen.entered = logStart.Add(time.Duration(i) * orderSlack)
				if err := c.admit(p); err != nil {
					t.Errorf("%s %d: %v", origin, i, err)
					return
				}
			}
		})
	}
	wait.Wait()
	got := fmt.Sprint(len(c.roots.facts), len(c.roots.order), len(c.leaves.facts), len(c.leaves.order))
	if want := fmt.Sprint(maxCheckpoints, maxCheckpoints, maxCheckpoints, maxCheckpoints); got != want {
		t.Errorf("kept %s, want %s", got, want)
	}
	for origin, o := range c.orders {
		if len(o.slices) > maxCheckpoints {
			t.Errorf("%s: %d slices", origin, len(o.slices))
		}
	}
}
