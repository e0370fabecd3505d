package source

import (
	"context"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"

	"millwright.dev/millwright/gitverify"
)

// heartbeatRef is the signed tag that says which tip somebody saw, and when
// (rule T11). It is a hint from outside until the verifier has looked at it.
const heartbeatRef = "refs/millwright/heartbeat"

// Bounds of a heartbeat that has to be fetched for itself: a tag object, and the
// commits that it knows of and we do not.
const maxHeartbeatPack = 8 << 20

// pulse is how patient the store is with the heartbeat. One that cannot be
// fetched is left out for a while, so that it costs no more than now and then.
type pulse struct{ misses, skip int }

// maxPatience bounds for how many fetches the heartbeat is left out.
const maxPatience = 64

// due says whether this fetch asks for the heartbeat.
func (p *pulse) due() bool {
	if p.skip > 0 {
		p.skip--
		return false
	}
	return true
}

func (p *pulse) missed() {
	p.misses++
	p.skip = min(1<<min(p.misses, 16), maxPatience)
}

// beat is the heartbeat, fetched where it is not here yet, or zero when there is
// none. It never fails a fetch.
func (s *Store) beat(ctx context.Context, from session, advertised *packp.AdvRefs, id plumbing.Hash) plumbing.Hash {
	if id.IsZero() {
		return id
	}
	if !s.has(id) {
		err := s.receive(ctx, from, s.request(advertised, []plumbing.Hash{id}), maxHeartbeatPack)
		if err != nil || !s.has(id) {
			s.pulse.missed()
			return plumbing.ZeroHash
		}
	}
	s.pulse = pulse{}
	return id
}

// peel follows annotated tags to what they name, a few of them.
func (s *Store) peel(id plumbing.Hash) plumbing.Hash {
	for range 4 {
		tag, err := object.GetTag(s.disk, id)
		if err != nil {
			break
		}
		id = tag.Target
	}
	return id
}

// checkout is what a fetch brought.
func (s *Store) checkout(ref string, got tips) Checkout {
	c := Checkout{Commit: gitverify.ID(got.ref.String()), Ref: ref, store: s}
	if !got.heartbeat.IsZero() && s.has(got.heartbeat) {
		c.Heartbeat = gitverify.ID(got.heartbeat.String())
	}
	if isTag(ref) {
		c.Tag, c.Commit = c.Commit, gitverify.ID(s.peel(got.ref).String())
	}
	return c
}
