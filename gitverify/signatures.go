package gitverify

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Signed is what one commit's signature proves: who made the commit, and when.
// It says nothing about whether they may, and opens no tree.
type Signed struct {
	Commit ID
	// Issuer and Subject are those of the verified certificate; empty where
	// Refusal says why nothing is proven.
	Issuer, Subject string
	// SignedAt is the proven time, Stamped that an authority vouches for it.
	SignedAt time.Time
	Stamped  bool
	// LogIndex is the entry's index in the transparency log, -1 when unknown.
	LogIndex int64
	Refusal  *Refusal
}

// Signatures proves the signature of every commit that is reachable from head
// and not from base, children before their parents, without a trust policy: any
// repository has an answer, and none of these answers permits anything. No log is
// asked. An error means that it could not be told.
func (v *Verifier) Signatures(ctx context.Context, objects Objects, base, head ID) (all []Signed, err error) {
	if !base.valid() || !head.valid() {
		return nil, errors.New("proving signatures: base and head have to be full commit ids")
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	defer func() {
		if cause := recover(); cause != nil { // row B33
			all, err = nil, fmt.Errorf("proving signatures: the verifier failed: %s", printable(fmt.Sprint(cause)))
		}
	}()
	w := v.newWalk(objects, Request{Anchor: base, Candidate: head})
	ids, err := w.between(ctx, base, head)
	if err != nil {
		return nil, err
	}
	for len(ids) > 0 {
		now := ids[:min(len(ids), proveAhead)]
		ids = ids[len(now):]
		w.proveAhead(ctx, w.readAhead(ctx, now))()
		for _, id := range now {
			s, err := w.signed(ctx, id)
			if err != nil {
				return nil, err
			}
			all = append(all, s)
		}
	}
	return all, nil
}

// between lists the commits that head reaches and base does not. Malformed ones
// are listed as well: whoever asks wants to hear of them.
func (w *walk) between(ctx context.Context, base, head ID) (found []ID, err error) {
	seen := map[ID]struct{}{}
	for _, start := range []ID{base, head} {
		found = nil
		queue := []ID{start}
		for len(queue) > 0 {
			id := queue[0]
			queue = queue[1:]
			if _, ok := seen[id]; ok {
				continue
			}
			seen[id] = struct{}{}
			body, err := w.body(ctx, id)
			if err != nil {
				return nil, err
			}
			found = append(found, id)
			queue = append(queue, looseParents(body)...)
		}
	}
	return found, nil
}

// signed is what is proven of one commit.
func (w *walk) signed(ctx context.Context, id ID) (Signed, error) {
	s := Signed{Commit: id, LogIndex: -1}
	a, proved := w.proofs[id]
	if delete(w.proofs, id); !proved {
		c, err := w.commit(ctx, id)
		if a.err = err; err == nil {
			a = w.prove(ctx, c, nil)
		}
	}
	if no, refused := errors.AsType[*Refusal](about(id, a.err)); refused {
		s.Refusal = no
		return s, nil
	}
	if a.err != nil {
		return s, about(id, a.err)
	}
	p := a.proof
	s.Issuer, s.Subject = p.issuer, p.subject
	s.SignedAt, s.Stamped, s.LogIndex = p.at, p.stamped, p.logIndex
	return s, nil
}
