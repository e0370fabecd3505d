package gitverify

import (
	"errors"
	"fmt"
	"testing"
)

func TestTheSearchForVouchersIsBounded(t *testing.T) { // row C48
	t.Parallel()
	var m memo
	for steps := 0; ; steps++ {
		err := m.spend(1000)
		var no *Refusal
		if errors.As(err, &no) {
			if no.Code != codeUnit || steps < 50_000 {
				t.Errorf("refused with %v after %d steps", no, steps)
			}
			break
		}
		if err != nil || steps > maxVouching {
			t.Fatalf("no end after %d steps: %v", steps, err)
		}
	}
	m.forget()
	if err := m.spend(1000); err != nil {
		t.Errorf("the next unit should begin anew: %v", err)
	}
}

func TestTheSearchesForMergeBasesOfOneUnitAreBoundedTogether(t *testing.T) { // row C48
	t.Parallel()
	const steps = 500
	w := &walk{frontier: anchored(acceptedStep{commit: "anchor"}), pending: map[ID]*record{}}
	add := func(id ID, parents ...ID) ID {
		w.pending[id] = &record{parents: parents, order: len(w.pending)}
		return id
	}
	// Each step merges a branch from the very beginning.
	ladder := func() error {
		clear(w.pending)
		w.pending[w.anchor()] = &record{}
		tip := w.anchor()
		for i := range steps {
			side := add(ID(fmt.Sprint("side", i)), w.anchor())
			if bases, err := mergeBases(t.Context(), descent{w}, tip, side); err != nil || len(bases) != 1 {
				return err
			}
			tip = add(ID(fmt.Sprint("line", i)), tip, side)
		}
		return nil
	}
	if err := ladder(); err != nil {
		t.Errorf("%d merges: %v", steps, err)
	}
	w.memo.spent = maxVouching - stepCost*steps*steps/2
	if no := (*Refusal)(nil); !errors.As(ladder(), &no) || no.Code != codeUnit {
		t.Errorf("searches without an end: %v", no)
	}
}
