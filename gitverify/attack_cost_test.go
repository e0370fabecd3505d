package gitverify_test

import (
	"fmt"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// pile puts empty commits of a machine on top of a change that waits for an
// approval.
func pile(t *testing.T, commits int) (s scene, tip gitverify.ID) {
	t.Helper()
	s = strictScene(t)
	prod := strictFiles()
	for i := range 200 {
		prod[fmt.Sprintf("prod/%d/%d", i%10, i)] = "1"
	}
	tip = s.by("alice", "c", prod, s.anchor)
	tree := s.tree(prod)
	robot, err := s.virtual.Leaf(sigstoretest.SignOptions{Subject: "robot@factory.test"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range commits {
		tip = s.put("commit", s.sign(unsigned(tree, fmt.Sprint(i), tip), sigstoretest.SignOptions{Leaf: &robot}))
	}
	s.wantNo(s.verifier(), request(s.anchor, tip), "rule/threshold", tip)
	return s, tip
}

func TestAPileOfEmptyCommitsOnAnUnfinishedChangeCostsLittle(t *testing.T) { // row C48
	t.Parallel()
	s, tip := pile(t, 300)
	if s.reads > 300*8 {
		t.Errorf("%d objects were read for 300 commits", s.reads)
	}
	prod := s.objects[tip].body[5:45]
	approve := s.put("commit", s.sign(unsigned(gitverify.ID(prod), approveMain, tip), sigstoretest.SignOptions{Subject: bob}))
	s.wantYes(s.verifier(), request(s.anchor, approve))
}
