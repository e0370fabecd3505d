package gitverify_test

import (
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// scene is what an attack is made from: a repository with an anchor.
type scene struct {
	*repository
	anchor gitverify.ID
}

// body is an unsigned commit on top of the anchor.
func (s scene) body() []byte {
	return unsigned(s.tree(files("a", "1")), "change", s.anchor)
}

// signed stores a commit on top of the anchor that is signed as the options say.
func (s scene) signed(o sigstoretest.SignOptions) gitverify.ID {
	s.t.Helper()
	return s.put("commit", s.sign(s.body(), o))
}

// case is one attack: a candidate that must be refused, about which commit, and
// a twin that must be accepted and differs in the attacked property only.
type outcome struct{ bad, blamed, twin gitverify.ID }

// attack is a row of the attack table.
type attack struct {
	row, name, code string
	build           func(s scene) outcome
}

// alone is an outcome in which the candidate itself is to blame.
func alone(bad, twin gitverify.ID) outcome { return outcome{bad, bad, twin} }

func runAttacks(t *testing.T, attacks []attack) {
	t.Helper()
	for _, a := range attacks {
		t.Run(a.row+" "+a.name, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t)
			s := scene{r, r.anchor()}
			o := a.build(s)
			v := r.verifier()
			r.wantNo(v, request(s.anchor, o.bad), a.code, o.blamed)
			r.wantYes(v, request(s.anchor, o.twin))
			// A yes in between must not have opened a door.
			r.wantNo(v, request(s.anchor, o.bad), a.code, o.blamed)
			r.wantAgreement(o.bad, o.twin)
		})
	}
}
