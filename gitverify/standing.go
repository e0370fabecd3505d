package gitverify

import (
	"context"
	"errors"
	"fmt"
)

// Standing lists the revoked commits of a verification of which something is
// still in the verified tree (rule T9): a forward commit that puts everything
// right again is what ends the alarm, since nothing takes the commit itself out
// of history. A path counts as put right when its content is another, for whoever
// changed it last answers for it (rule T5); a commit that changed nothing leaves
// nothing.
func (v *Verifier) Standing(ctx context.Context, objects Objects, verified Verification) (standing []Revoked, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f := v.frontiers[verified.history]
	if f == nil {
		return nil, errors.New("looking for revoked content: the revision was not verified by this verifier")
	}
	w := v.newWalk(objects, Request{Ref: verified.history.mainline, Candidate: verified.commit, Anchor: verified.anchor})
	w.frontier = f
	defer func() {
		if cause := recover(); cause != nil { // row B33, as in runIsolated
			standing, err = nil, fmt.Errorf("looking for revoked content: the verifier failed: %s", printable(fmt.Sprint(cause)))
		}
	}()
	for _, r := range verified.revoked {
		stands, err := w.stillThere(ctx, r.Commit, verified.tree)
		if err != nil {
			return nil, fmt.Errorf("looking for what revoked commit %s changed: %w", r.Commit, err)
		}
		if stands {
			standing = append(standing, r)
		}
	}
	return standing, nil
}

// stillThere tells whether a path that a commit changed, against its first
// parent, is in the tree as the commit left it.
func (w *walk) stillThere(ctx context.Context, commit, tree ID) (bool, error) {
	c, err := w.commit(ctx, commit)
	if err != nil {
		return false, err
	}
	before, err := w.commit(ctx, c.parents[0]) // only the anchor may have none, and it is not judged
	if err != nil {
		return false, err
	}
	made, err := w.reader.diff(ctx, before.tree, c.tree)
	if err != nil {
		return false, err
	}
	since, err := w.reader.diff(ctx, c.tree, tree)
	if err != nil {
		return false, err
	}
	changed := make(map[string]bool, len(since))
	for _, s := range since {
		changed[s.path] = true
	}
	for _, m := range made {
		if !changed[m.path] {
			return true, nil
		}
	}
	return false, nil
}
