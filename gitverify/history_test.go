package gitverify_test

import (
	"testing"
)

func TestASignedCommitAfterTheAnchorIsAccepted(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	tip := r.commit("change", files("a", "1"), anchor)
	got := r.wantYes(r.verifier(), request(anchor, tip))
	t.Logf("%+v", got.Checked())
}
