package reconciler_test

import (
	"os"
	"path/filepath"
	"testing"
)

// Taking a guard back to what it was at the anchor is a change of what is
// applied, also where a forge's key that was revoked made what is applied: the
// anchor must not stand in for it.
func TestARevokedForgeKeyLeavesNoOldStateThatNobodyHasToApprove(t *testing.T) { // rules T6, T12
	key, forge := forgeKey(t)
	rules := "  - {name: guards, objects: [{set: rbac}], role: security, threshold: 1}\n" + forge
	p := newPlantWith(t, rules)
	p.local("switch", "-q", "-c", "feature")
	p.setBase("get")
	_, err := p.sigstore.Commit(t.Context(), p.work, alice, "a guard")
	p.must(err)
	_, err = p.sigstore.Commit(t.Context(), p.work, carol, "I looked at it\n\nMillwright-Approve: millwright.dev/test refs/heads/main\n")
	p.must(err)
	p.local("switch", "-q", "main")
	p.local("-c", "gpg.format=ssh", "-c", "user.signingKey="+key, "merge", "-q", "--no-ff", "-S", "-m", "merge", "feature")
	p.push("HEAD")
	p.applied()
	p.setPolicy(2, rules+"  revocations:\n  - {forgeKey: forge-ssh, reason: its server was broken into}\n")
	p.commit(alice, "the forge's key is revoked")
	p.applied()
	p.local("checkout", "-q", p.anchor, "--", "overlays")
	p.must(os.RemoveAll(filepath.Join(p.work, "bases")))
	p.must(os.RemoveAll(filepath.Join(p.work, "overlays/production")))
	p.commit(alice, "as it was at the anchor")
	p.wantRefused(p.pass(), "rule/objects", "one")
	if p.role() != "get" {
		t.Errorf("the guard is gone: %q", p.role())
	}
	p.approve(bob)
	p.applied()
}
