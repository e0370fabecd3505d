package gitverify_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/forgekey/forgekeytest"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// noting is a store that notes what is read.
type noting struct {
	gitverify.Objects

	read map[gitverify.ID]bool
}

func (n noting) Object(ctx context.Context, id gitverify.ID, limit int64) (string, []byte, error) {
	n.read[id] = true
	return n.Objects.Object(ctx, id, limit)
}

// TestWhateverCannotBeReadTheAnswerIsNeitherYesNorNo takes histories that
// verify, and makes each object that this needed unreadable, one at a time.
func TestWhateverCannotBeReadTheAnswerIsNeitherYesNorNo(t *testing.T) {
	t.Parallel()
	virtual, err := sigstoretest.NewVirtual(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	forge, err := forgekeytest.New("ssh")
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for seed := uint64(1); asked < 300; seed++ {
		rng := rand.New(rand.NewPCG(seed, 0))
		h := newHistory(rng, 6+rng.IntN(30))
		best := 0
		for _, c := range h.candidates { // the longest that verifies
			if h.judge(0, c, -1).yes && len(h.reach(c)) > len(h.reach(best)) {
				best = c
			}
		}
		if len(h.reach(best)) < 6 {
			continue
		}
		r := realise(t, h, virtual, forge)
		req := request(r.ids[0], r.ids[best])
		reads := noting{r, map[gitverify.ID]bool{}}
		if _, err := r.verifier().Verify(t.Context(), reads, req); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for id := range reads.read {
			r.broken[id] = errors.New("the disk is gone")
			_, err := r.verifier().Verify(t.Context(), r, req)
			var no *gitverify.Refusal
			if err == nil || errors.As(err, &no) {
				t.Errorf("seed %d: without the %s %s the answer is %v", seed, r.objects[id].kind, id, err)
			}
			delete(r.broken, id)
			asked++
		}
	}
}

// TestAFloorInsideALaterUnitIsARollback: the floor need not be a step itself.
func TestAFloorInsideALaterUnitIsARollback(t *testing.T) { // T10
	t.Parallel()
	virtual, err := sigstoretest.NewVirtual(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	forge, err := forgekeytest.New("ssh")
	if err != nil {
		t.Fatal(err)
	}
	g := &generator{rng: rand.New(rand.NewPCG(1, 0)), world: &world{ref: "refs/heads/main", policies: map[string]modelPolicy{}}}
	policy := g.firstPolicy()
	policy.rules[0].paths, policy.rules[0].threshold = []string{"**"}, 1
	tree := func(a string) map[string]string {
		return map[string]string{oracleTrust: "policy 1", "apps/a": a}
	}
	g.policy(policy)
	g.add(modelCommit{tree: tree("0")})
	first := g.add(modelCommit{parents: []int{0}, tree: tree("1"), signer: "alice"})
	inside := g.add(modelCommit{parents: []int{first}, tree: tree("2"), signer: "dave"}) // counts for nothing
	step := g.add(modelCommit{parents: []int{inside}, tree: tree("2"), signer: "bob", message: "yes\n\nMillwright-Approve: " + modelRepository + " refs/heads/main"})
	bare := g.add(modelCommit{parents: []int{inside}, tree: tree("2"), signer: "bob", message: "Millwright-Approve: " + modelRepository + " refs/heads/main"})
	r := realise(t, g, virtual, forge)
	v := r.verifier()
	req := func(candidate, floor int) gitverify.Request {
		req := request(r.ids[0], r.ids[candidate])
		req.Floor = r.ids[floor]
		return req
	}
	r.wantYes(v, req(step, inside))
	r.wantYes(v, req(first, first))
	r.wantNo(v, req(first, inside), "hist/rollback", r.ids[first])
	r.wantYes(v, req(step, inside))
	// A trailer that is the whole message is a subject, and approves nothing (T7).
	r.wantNo(r.verifier(), req(bare, first), "rule/threshold", r.ids[bare])
}
