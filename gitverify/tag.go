package gitverify

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

// Tag is a verified annotated tag.
type Tag struct {
	// Name is what the tag calls itself, which is also what its ref is called.
	Name string
	// Target is the commit that it names.
	Target ID
	Signer Identity
	// SignedAt is the proven signing time, never what the tag claims.
	SignedAt time.Time
}

const heartbeatName = "heartbeat"

// runTag answers for a followed tag (rule T14): the tag's own signature, by
// somebody with the role release, for this name; and the commit that it names,
// as for any branch. Neither stands for the other (row A23).
//
// The signer is held against the newest policy that is accepted on the line of
// that commit. A factory that follows a tag learns of a later policy only with a
// tag on a later commit; until then, the last applied revision bounds how far
// back a tag may name (rule T10).
func (w *walk) runTag(ctx context.Context, known *frontier) (outcome, error) {
	id := w.request.Candidate
	t, err := w.tag(ctx, id, strings.TrimPrefix(w.request.Ref, tagPrefix))
	if err != nil {
		return outcome{frontier: known}, about(id, err)
	}
	w.request.Candidate = t.target
	out, err := w.run(ctx, known)
	if err != nil {
		return out, err
	}
	tag, err := w.checkTag(ctx, t, trustpolicy.RoleRelease)
	if err != nil {
		return outcome{frontier: out.frontier}, about(id, err)
	}
	out.tag = &tag
	return out, nil
}

// tag reads the tag with the name, and refuses what no signature could mend.
func (w *walk) tag(ctx context.Context, id ID, name string) (rawTag, error) {
	body, err := w.reader.read(ctx, id, "tag", maxCommit, codeTagMalformed)
	if codeOf(err) == codeMalformed { // its bytes have the name, but are no tag's
		if _, err := w.reader.read(ctx, id, "commit", maxCommit, codeCommitSize); err == nil {
			return rawTag{}, refuse(codeTagUnsigned, "the ref points at a commit itself: a lightweight tag carries no signature")
		}
		return rawTag{}, refuse(codeTagTarget, "the ref points at neither a tag nor a commit")
	}
	if err != nil {
		return rawTag{}, err
	}
	t, err := splitTag(body)
	t.id = id
	switch {
	case err != nil:
		return rawTag{}, err
	case t.armored == nil:
		return rawTag{}, refuse(codeTagUnsigned, "the tag %q carries no signature", t.name)
	case t.name != name:
		return rawTag{}, refuse(codeTagName, "the tag calls itself %q, and lies where %q is expected", t.name, name)
	case t.kind != "commit": // a tag of a tag would have a second name and a second signer
		return rawTag{}, refuse(codeTagTarget, "the tag %q names a %s, not a commit", t.name, t.kind)
	}
	return t, nil
}

// checkTag holds a tag's signature against the policy in force: the rules for
// commits, and the role.
func (w *walk) checkTag(ctx context.Context, t rawTag, role string) (Tag, error) {
	policy := w.head().policy
	p, err := w.prover.prove(ctx, t.payload, t.armored, inquire(w.lookup(), t.id))
	if err != nil {
		return Tag{}, err
	}
	id, err := identify(policy, p.certified)
	if err != nil {
		return Tag{}, err
	}
	if err := inForce(policy, id, p); err != nil {
		return Tag{}, err
	}
	if !id.HasRole(role) {
		return Tag{}, refuse(codeTagRole, "identity %q signed the tag %q, and does not have the role %s", id.Name, t.name, role)
	}
	if err := checkCommitter(policy, id, rawCommit{email: t.email}); err != nil {
		return Tag{}, err
	}
	if _, err := checkSkew(policy, p.at, t.when); err != nil {
		return Tag{}, err
	}
	if err := w.seen.admit(p); err != nil {
		return Tag{}, err
	}
	signer := Identity{Name: id.Name, Person: id.Person, Issuer: p.issuer, Subject: p.subject}
	return Tag{Name: t.name, Target: t.target, Signer: signer, SignedAt: p.at}, nil
}

// HeartbeatRequest says which heartbeat is to be verified.
type HeartbeatRequest struct {
	// Tag is the tag object that refs/millwright/heartbeat points at.
	Tag ID
	// Anchor is the anchor of the history that it is about, and Mainline its
	// branch: refs/heads/main if empty.
	Anchor   ID
	Mainline string
}

// Heartbeat is a verified heartbeat (rule T11): somebody trusted with the role
// heartbeat saw the commit at the tip of the followed branch.
type Heartbeat struct {
	// Target is the commit that was seen.
	Target ID
	// SignedAt is the proven signing time. That it is recent is for the caller to
	// find out, by a clock.
	SignedAt time.Time
	Signer   Identity
	// Known says that the commit is an accepted one of the first-parent line. A
	// heartbeat that names another means that the source does not serve what
	// others saw, or not yet.
	Known bool
}

// Heartbeat verifies a heartbeat against the newest policy that was accepted after
// the anchor. It needs a history that [Verifier.Verify] has looked at, and accepts
// nothing by itself. A nil error is a yes, a [*Refusal] (errors.As) a no, and any
// other error means that it could not be told.
func (v *Verifier) Heartbeat(ctx context.Context, objects Objects, req HeartbeatRequest) (Heartbeat, error) {
	history := Request{Ref: cmp.Or(req.Mainline, mainBranch), Anchor: req.Anchor}.history()
	walked := Request{Ref: history.mainline, Candidate: req.Tag, Anchor: req.Anchor}
	if err := walked.check(); err != nil {
		return Heartbeat{}, fmt.Errorf("verifying a heartbeat: %w", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	known := v.frontiers[history]
	if known == nil {
		return Heartbeat{}, fmt.Errorf("verifying a heartbeat: nothing after the anchor %s was verified yet", req.Anchor)
	}
	w := v.newWalk(objects, walked)
	w.frontier = known
	beat, err := w.heartbeat(ctx)
	if w.frontier != known { // a change of the trusted root took something back
		v.frontiers[history] = w.frontier
		v.keep(history, w.frontier)
	}
	return beat, err
}

func (w *walk) heartbeat(ctx context.Context) (beat Heartbeat, err error) {
	defer func() {
		if cause := recover(); cause != nil { // row B33, as in runIsolated
			beat, err = Heartbeat{}, fmt.Errorf("verifying a heartbeat: the verifier failed: %s", printable(fmt.Sprint(cause)))
		}
	}()
	if err := w.reprove(ctx); err != nil {
		return Heartbeat{}, err
	}
	id := w.request.Candidate
	t, err := w.tag(ctx, id, heartbeatName)
	if err != nil {
		return Heartbeat{}, about(id, err)
	}
	tag, err := w.checkTag(ctx, t, trustpolicy.RoleHeartbeat)
	if err != nil {
		return Heartbeat{}, about(id, err)
	}
	_, onLine := w.line[tag.Target]
	return Heartbeat{Target: tag.Target, SignedAt: tag.SignedAt, Signer: tag.Signer, Known: onLine}, nil
}
