package gitverify

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// walk is one call of Verify: rule T3 of the trust model.
type walk struct {
	reader     objectReader
	signatures *signatureVerifier
	options    Options
	request    Request
	// looked are the commits that were looked at, which are bounded.
	looked map[ID]struct{}

	*frontier
	// unit holds what was judged since the head was accepted, and unfinished
	// why it was not accepted yet.
	unit       []Checked
	unitSeen   map[ID]struct{}
	unfinished error
}

// step is one commit of the first-parent line.
type step struct {
	commit, tree ID
	parents      []ID
	policy       Policy
	policyBlob   ID
}

// run walks from the last accepted commit to the candidate. It returns the
// frontier that it got to also when the answer is no: what was accepted stays
// accepted.
func (w *walk) run(ctx context.Context, known *frontier) (*frontier, error) {
	line, head, err := w.firstParents(ctx, known)
	if err != nil {
		return known, err
	}
	if w.frontier = known; known == nil || head != known.head {
		if w.frontier, err = w.start(ctx); err != nil {
			return known, err
		}
	}
	if err := w.checkFloor(ctx, line); err != nil {
		return w.frontier, err
	}
	for _, commit := range line {
		if err := w.advance(ctx, commit); err != nil {
			return w.frontier, err
		}
	}
	return w.frontier, w.unfinished
}

// start is the frontier at the anchor, which is trusted by its id alone, and
// with it the policy in its tree (rule T1).
func (w *walk) start(ctx context.Context) (*frontier, error) {
	anchor := w.request.Anchor
	c, err := w.commit(ctx, anchor)
	if err != nil {
		return nil, err
	}
	policy, blob, err := w.policyOf(ctx, c.tree)
	if err != nil {
		return nil, about(anchor, err)
	}
	return &frontier{
		head: anchor, tree: c.tree, policy: policy, policyBlob: blob,
		line: map[ID]int{anchor: 0}, seen: map[ID]struct{}{anchor: {}},
	}, nil
}

// firstParents lists the first-parent line up to the candidate, oldest first,
// after the known frontier's head or else after the anchor, and says which.
func (w *walk) firstParents(ctx context.Context, known *frontier) (line []ID, head ID, err error) {
	for id := w.request.Candidate; ; {
		if id == w.request.Anchor || known != nil && id == known.head {
			slices.Reverse(line)
			return line, id, nil
		}
		c, err := w.commit(ctx, id)
		if err != nil {
			return nil, "", err
		}
		line = append(line, id)
		if len(c.parents) == 0 {
			return nil, "", w.offLine(ctx, w.request.Anchor, "the anchor")
		}
		id = c.parents[0]
	}
}

// commit reads and splits one commit.
func (w *walk) commit(ctx context.Context, id ID) (rawCommit, error) {
	body, err := w.body(ctx, id)
	if err != nil {
		return rawCommit{}, err
	}
	c, err := splitCommit(body)
	return c, about(id, err)
}

func (w *walk) body(ctx context.Context, id ID) ([]byte, error) {
	if w.looked[id] = struct{}{}; len(w.looked) > w.options.MaxCommits {
		return nil, about(id, refuse(codeCommits, "more than %d commits to look at", w.options.MaxCommits))
	}
	body, err := w.reader.read(ctx, id, "commit", maxCommit, codeCommitSize)
	return body, about(id, err)
}

// checkFloor makes sure that the candidate descends from the last applied
// revision (rule T10), on its first-parent line like everything accepted.
func (w *walk) checkFloor(ctx context.Context, line []ID) error {
	floor := w.request.Floor
	if _, accepted := w.line[floor]; floor == "" || accepted || slices.Contains(line, floor) {
		return nil
	}
	// An anchor that was moved forward past the last applied revision is fine.
	if before, err := w.reaches(ctx, w.request.Anchor, floor); err != nil || before {
		return err
	}
	return w.offLine(ctx, floor, "the last applied revision")
}

// offLine finds out why a commit that should be on the candidate's
// first-parent line is not. Whatever it finds, the answer is no.
func (w *walk) offLine(ctx context.Context, missed ID, what string) error {
	candidate := w.request.Candidate
	if back, err := w.reaches(ctx, missed, candidate); err != nil || back {
		return orElse(err, about(candidate, refuse(codeRollback, "the ref went back behind %s %s", what, missed)))
	}
	if merged, err := w.reaches(ctx, candidate, missed); err != nil || merged {
		return orElse(err, about(candidate, refuse(codeNotMainline, "%s %s was merged in, and is not on the line of first parents", what, missed)))
	}
	return about(candidate, refuse(codeNonDescendant, "it does not descend from %s %s", what, missed))
}

func orElse(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// reaches tells whether the target is the start or one of its ancestors, as far
// as the objects are there.
func (w *walk) reaches(ctx context.Context, from, target ID) (bool, error) {
	seen, err := w.ancestorsOf(ctx, from)
	_, ok := seen[target]
	return ok, err
}

// ancestorsOf collects a commit and its ancestors, as far as the objects are
// there; the names of missing ones count.
func (w *walk) ancestorsOf(ctx context.Context, from ID) (map[ID]struct{}, error) {
	seen := map[ID]struct{}{from: {}}
	for queue := []ID{from}; len(queue) > 0; {
		id := queue[0]
		queue = queue[1:]
		body, err := w.body(ctx, id)
		if errors.Is(err, ErrObjectMissing) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("looking at the history of %s: %w", from, err)
		}
		for _, p := range looseParents(body) {
			if _, ok := seen[p]; !ok {
				seen[p] = struct{}{}
				queue = append(queue, p)
			}
		}
	}
	return seen, nil
}

// advance judges one commit of the first-parent line with all that it merges,
// by the policy of the last accepted commit. A bad signature ends the walk; a
// unit that is only incomplete may be completed by the next commit.
func (w *walk) advance(ctx context.Context, commit ID) error {
	added, err := w.newCommits(ctx, commit)
	if err != nil {
		return err
	}
	var s step
	for _, id := range added {
		c, err := w.judge(ctx, id)
		if err != nil {
			return err
		}
		s = step{commit: id, tree: c.tree, parents: c.parents}
	}
	w.unfinished = w.checkPolicyChange(ctx, &s)
	var refusal *Refusal
	switch {
	case w.unfinished == nil:
		w.acceptUnit(s)
	case !errors.As(w.unfinished, &refusal):
		return w.unfinished
	}
	return nil
}

// judge verifies the signature of one commit under the policy in force.
func (w *walk) judge(ctx context.Context, id ID) (rawCommit, error) {
	c, err := w.commit(ctx, id)
	if err != nil {
		return rawCommit{}, err
	}
	p, signer, err := w.signatures.verify(c, w.policy)
	if err != nil {
		return rawCommit{}, about(id, err)
	}
	if w.unitSeen == nil {
		w.unitSeen = map[ID]struct{}{}
	}
	w.unitSeen[id] = struct{}{}
	w.unit = append(w.unit, Checked{Commit: id, Signer: signer, SignedAt: p.at, LogIndex: p.logIndex})
	return c, nil
}

func (w *walk) acceptUnit(s step) {
	for id := range w.unitSeen {
		w.seen[id] = struct{}{}
	}
	w.checked = append(w.checked, w.unit...)
	w.line[s.commit] = len(w.checked)
	w.accept(s)
	w.unit, w.unitSeen = nil, nil
}
