package gitverify

import "context"

// An unfinished unit is looked at again with every commit that is put on top of
// it, since any of them may complete it. What does not change in the meantime is
// therefore kept, and all of it together is bounded: otherwise whoever may sign
// anything at all could keep the verifier busy for hours with a thousand empty
// commits (promise P6, row C48).
const (
	maxKeptChanges = 100_000
	maxVouching    = 100_000_000
)

// stepCost is what one commit costs apart from its paths, in words of them.
const stepCost = 16

// memo is what was worked out about the trees and merges of one unit.
type memo struct {
	diffs  map[[2]ID][]change
	merges map[ID]mergeAnswer
	forks  map[ID][]ID
	kept   int
	// spent is what looking for vouchers and for merge bases has cost, in words of
	// paths and changes.
	spent int
}

// mergeAnswer are the paths that the signer of a merge answers for, or that the
// merge is not one that a mechanical merge could be (rule T6).
type mergeAnswer struct {
	paths      []string
	mechanical bool
}

// spend counts the cost of one step of the search for vouchers or merge bases.
func (m *memo) spend(n int) error {
	if m.spent += n + stepCost; m.spent > maxVouching {
		return refuse(codeUnit, "what is not accepted yet has too many commits and paths to find out who vouches for it, or too many merges")
	}
	return nil
}

func (m *memo) keep(n int) {
	if m.diffs == nil {
		m.diffs, m.merges, m.forks = map[[2]ID][]change{}, map[ID]mergeAnswer{}, map[ID][]ID{}
	}
	if m.kept += n + 1; m.kept > maxKeptChanges {
		clear(m.diffs)
		clear(m.merges)
		clear(m.forks)
		m.kept = n + 1
	}
}

// forget begins a new unit.
func (m *memo) forget() {
	clear(m.diffs)
	clear(m.merges)
	clear(m.forks)
	m.kept, m.spent = 0, 0
}

// diff is what two trees do not have alike, worked out once.
func (w *walk) diff(ctx context.Context, before, after ID) ([]change, error) {
	if before == after {
		return nil, nil
	}
	pair := [2]ID{before, after}
	if changes, ok := w.memo.diffs[pair]; ok {
		return changes, nil
	}
	changes, err := w.reader.diff(ctx, before, after)
	if err != nil {
		return nil, err
	}
	w.memo.keep(len(changes))
	w.memo.diffs[pair] = changes
	return changes, nil
}

// answersFor compares a merge with a mechanical one, once.
func (w *walk) answersFor(ctx context.Context, r *record) (mergeAnswer, error) {
	if answer, ok := w.memo.merges[r.Commit]; ok {
		return answer, nil
	}
	m, ok, err := w.threeWay(ctx, r)
	if err != nil {
		return mergeAnswer{}, err
	}
	answer := mergeAnswer{mechanical: ok}
	if ok {
		if answer.paths, err = w.reader.unmechanical(ctx, m); err != nil {
			return mergeAnswer{}, err
		}
	}
	w.memo.keep(len(answer.paths))
	w.memo.merges[r.Commit] = answer
	return answer, nil
}
