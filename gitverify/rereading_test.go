package gitverify

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/gitverify/trustpolicy"
)

// What was read once need not be there when it is read again: a walk keeps what
// it read as long as there is room. Each read below fails alone, where others of
// the same walk, also of the same object, still work; the answer has to be that it
// cannot be told, and why (rule T13).

var errWaned = errors.New("the disk has gone")

// waning is a store in which one object can be read only so many times.
type waning struct {
	objectHeap

	id   ID
	left int
}

func (w *waning) Object(ctx context.Context, id ID, limit int64) (string, []byte, error) {
	if id == w.id {
		if w.left == 0 {
			return "", nil, errWaned
		}
		w.left--
	}
	return w.objectHeap.Object(ctx, id, limit)
}

// tree is one of a file a and a file b.
func (h objectHeap) tree(a, b string) ID {
	return h.put("tree", bodyOfTree(treeEntry{modeFile, "a", h.put("blob", []byte(a))}, treeEntry{modeFile, "b", h.put("blob", []byte(b))}))
}

func (h objectHeap) commit(tree ID, parents ...ID) ID {
	return h.put("commit", unsignedBody(tree, parents...))
}

func unsignedBody(tree ID, parents ...ID) []byte {
	body := fmt.Appendf(nil, "tree %s\n", tree)
	for _, p := range parents {
		body = fmt.Appendf(body, "parent %s\n", p)
	}
	return append(body, "author a <a@x> 1 +0000\ncommitter a <a@x> 1 +0000\n\nmessage\n"...)
}

// fork is a history with two branches from before its anchor, each of which
// changes a file, and one from the anchor. The merge of the two is mechanical.
type fork struct {
	objectHeap

	root, ours, theirs, anchor, side, stray  ID
	rootTree, oursTree, anchorTree, sideTree ID
	merge, onSide                            *record
}

func newFork() fork {
	f := fork{objectHeap: objectHeap{}}
	f.rootTree, f.oursTree, f.anchorTree, f.sideTree = f.tree("0", "0"), f.tree("1", "0"), f.tree("9", "9"), f.tree("3", "9")
	theirs, merged := f.tree("0", "1"), f.tree("1", "1")
	f.root = f.commit(f.rootTree)
	f.ours, f.theirs = f.commit(f.oursTree, f.root), f.commit(theirs, f.root)
	f.anchor = f.commit(f.anchorTree, f.root)
	f.side = f.commit(f.sideTree, f.anchor)
	f.stray = f.commit(f.tree("4", "4"))
	f.merge = signedRecord(f.commit(merged, f.ours, f.theirs), merged, f.ours, f.theirs)
	on := f.tree("3", "5")
	f.onSide = signedRecord(f.commit(on, f.side), on, f.side)
	return f
}

func signedRecord(id, tree ID, parents ...ID) *record {
	return &record{Checked: Checked{Commit: id, Signer: Identity{Person: "alice"}}, tree: tree, parents: parents, order: 1}
}

// walk remembers the anchor, the names of what lies before it, and nothing else.
func (f fork) walk(objects Objects) *walk {
	policy := &trustpolicy.Policy{Version: 1, Repository: "r", Identities: []trustpolicy.Identity{
		{Name: "alice", Person: "alice", Issuer: "i", Subject: "alice@x", Roles: []string{"maintainer"}},
	}}
	w := &walk{
		reader: objectReader{objects: objects}, options: Options{PolicyPath: "trust/policy", MaxCommits: 100}, keeps: -1,
		request: Request{Ref: "refs/heads/main", Anchor: f.anchor},
		looked:  map[ID]struct{}{}, recent: map[ID][]byte{}, proofs: map[ID]attempt{}, policies: map[ID]decoded{}, seen: &checkpoints{},
		frontier: anchored(acceptedStep{commit: f.anchor, tree: f.anchorTree, policy: policy}),
	}
	w.ancestors = map[ID]int{f.root: -2, f.ours: -1, f.theirs: -1}
	w.newUnit()
	return w
}

// rereading is one question, with the object that can be read only so many times
// while it is answered, and the code of the answer where nothing fails.
type rereading struct {
	id     ID
	left   int
	answer string
	ask    func(*walk) error
}

func (f fork) reread(t *testing.T, questions map[string]rereading) {
	t.Helper()
	for name, q := range questions {
		if err := q.ask(f.walk(f)); codeOf(err) != q.answer || (err == nil) != (q.answer == "") {
			t.Errorf("%s: where nothing fails: %v", name, err)
		}
		if err := q.ask(f.walk(&waning{f.objectHeap, q.id, q.left})); !errors.Is(err, errWaned) || codeOf(err) != "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestAMergeWhoseSidesCannotBeReadAgainIsNotMechanical(t *testing.T) { // rule T6
	t.Parallel()
	f := newFork()
	compare := func(w *walk) error {
		_, _, err := w.threeWay(t.Context(), f.merge)
		return err
	}
	check := func(w *walk) error { return w.checkMechanical(t.Context(), f.merge) }
	f.reread(t, map[string]rereading{
		"the base":                                   {f.root, 1, "", compare},
		"our side":                                   {f.ours, 1, "", compare},
		"their side":                                 {f.theirs, 1, "", compare},
		"a parent, on the way to the base":           {f.ours, 0, "", compare},
		"the tree of the base":                       {f.rootTree, 0, "", check},
		"the base's folder of the trust policy":      {f.rootTree, 1, "", check},
		"the tree of the base, of a person's merge":  {f.rootTree, 0, "", func(w *walk) error { _, err := w.answersFor(t.Context(), f.merge); return err }},
		"what a commit before the anchor comes from": {f.ours, 0, "", func(w *walk) error { _, err := w.parentsOf(t.Context(), f.ours); return err }},
	})
}

func TestWhoVouchesCannotBeToldWhereWhatTheySawCannotBeRead(t *testing.T) { // rule T5, row C06
	t.Parallel()
	f := newFork()
	index := map[string]int{"a": 0, "b": 1}
	unit := func(w *walk, r *record) unitRange {
		w.pending[r.Commit] = r
		return unitRange{members: []*record{r}, onLine: func(ID) bool { return true }, before: w.head(), paths: []string{"a", "b"}}
	}
	sees := func(w *walk) error {
		_, err := w.sightOf(t.Context(), unit(w, f.merge), index)
		return err
	}
	saw := func(w *walk) error {
		s, err := w.sightOf(t.Context(), unit(w, f.merge), index)
		if err != nil {
			return err
		}
		_, err = s.of(t.Context(), f.merge, allPaths(2))
		return err
	}
	vouch := func(r *record) func(*walk) error {
		return func(w *walk) error {
			_, err := w.vouchers(t.Context(), unit(w, r))
			return err
		}
	}
	changed := func(w *walk) error {
		_, err := w.changedFrom(t.Context(), f.side, f.onSide.tree, index)
		return err
	}
	f.reread(t, map[string]rereading{
		"a commit from which paths changed":      {f.side, 0, "", changed},
		"the tree from which paths changed":      {f.sideTree, 0, "", changed},
		"a side, on the way to where it forked":  {f.ours, 0, "", sees},
		"where the sides forked":                 {f.root, 1, "", saw},
		"the anchor, on the way to the same":     {f.anchor, 0, "", vouch(f.merge)},
		"what a merge is compared with":          {f.rootTree, 0, "", vouch(f.merge)},
		"what a change is compared with":         {f.side, 0, "", vouch(f.onSide)},
		"where somebody who vouches forked":      {f.side, 1, "", vouch(f.onSide)},
		"what was accepted before the vouchings": {f.anchorTree, 0, "", vouch(f.onSide)},
	})
	w := f.walk(f)
	w.memo.spent = maxVouching
	if err := changed(w); codeOf(err) != codeUnit {
		t.Errorf("beyond what may be spent: %v", err)
	}
}

func TestWhatACommitIsCannotBeToldWhereItsParentCannotBeRead(t *testing.T) { // rules T1, T5, T8, T12
	t.Parallel()
	f := newFork()
	approving := rawCommit{parents: []ID{f.side}, tree: f.sideTree, message: []byte("yes\n\n" + approvalTrailer + "r refs/heads/main\n")}
	kind := func(r *record, err error) error {
		if err == nil && r.Kind != KindApproval {
			return fmt.Errorf("it is %s: %q", r.Kind, r.Warnings)
		}
		return err
	}
	onTop := signedRecord(f.commit(f.sideTree, f.side), f.sideTree, f.side)
	second := f.commit(f.tree("5", "5"), f.anchor, f.stray)
	f.reread(t, map[string]rereading{
		"the parent of an approval": {f.side, 0, "", func(w *walk) error {
			r := new(record)
			return kind(r, w.classify(t.Context(), r, approving))
		}},
		"the parent of an approval that somebody listed signed": {f.side, 0, "", func(w *walk) error {
			r := new(record)
			p := proof{certified: certified{issuer: "i", subject: "alice@x"}, at: virtualNow}
			return kind(r, w.judgePerson(t.Context(), r, attempt{commit: approving, proof: p}))
		}},
		"the parent whose policy counts": {f.side, 0, "", func(w *walk) error {
			return w.checkPolicyChange(t.Context(), onTop, &acceptedStep{}, nil)
		}},
		"a second root": {f.stray, 1, codeRoot, func(w *walk) error {
			_, err := w.newCommits(t.Context(), second)
			return err
		}},
		"the tree of a step": {f.sideTree, 0, "", func(w *walk) error {
			w.accept(acceptedStep{commit: f.side, tree: f.sideTree}, nil)
			_, err := w.lastChanged(t.Context(), 0, 1, []string{"a"})
			return err
		}},
		"what is proved again": {f.side, 0, "", func(w *walk) error {
			w.suspects = w.acceptAlone(f.side, f.sideTree)
			return w.reprove(t.Context())
		}},
	})
}

// acceptAlone accepts a commit as a step of its own.
func (w *walk) acceptAlone(id, tree ID) []*record {
	unit := []*record{signedRecord(id, tree, w.anchor())}
	w.accept(acceptedStep{commit: id, tree: tree, policy: w.head().policy}, unit)
	return unit
}

func TestALogThatIsAwayWhileAProofIsMadeAgainTakesNothingBack(t *testing.T) { // row B28
	t.Parallel()
	f := newFork()
	s := newSketch(t, sigstoretest.SignOptions{})
	body, err := s.virtual.SignCommit(unsignedBody(f.sideTree, f.anchor), sigstoretest.SignOptions{NoLogEntry: true})
	if err != nil {
		t.Fatal(err)
	}
	away := errors.New("away")
	for _, c := range []struct{ says, want error }{{away, away}, {ErrNotLogged, nil}} {
		w := f.walk(f)
		w.prover = s.verifier(nil)
		w.options.Log = answers(func() ([][]byte, error) { return nil, c.says })
		w.suspects = w.acceptAlone(f.put("commit", body), f.sideTree)
		err := w.reprove(t.Context())
		if kept := len(w.steps) == 2; !errors.Is(err, c.want) || kept != (c.want != nil) {
			t.Errorf("the log says %v: %v, and %d steps are left", c.says, err, len(w.steps))
		}
	}
}
