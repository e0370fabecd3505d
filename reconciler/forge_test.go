package reconciler_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/audit"
)

// forgeKey makes a key of a forge and the lines of the trust policy about it.
func forgeKey(t *testing.T) (path, policy string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "forge")
	run := func(args ...string) string {
		out, err := exec.CommandContext(t.Context(), "ssh-keygen", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ssh-keygen: %v: %s", err, out)
		}
		return string(out)
	}
	run("-q", "-t", "ed25519", "-N", "", "-C", "forge", "-f", path)
	public, err := os.ReadFile(path + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return path, fmt.Sprintf("  history:\n    forgeKeys:\n    - {name: forge-ssh, type: ssh, fingerprint: %q, publicKey: %q}\n",
		strings.Fields(run("-l", "-f", path+".pub"))[1], strings.TrimSpace(string(public)))
}

func TestAMergeByTheForgeOfApprovedContentIsAppliedAndOnRecord(t *testing.T) { // rules T6, T7, T13
	key, policy := forgeKey(t)
	p := newPlantWith(t, policy)
	p.commit(alice, "good")
	p.applied()
	p.local("switch", "-q", "-c", "feature")
	p.setConfig("two")
	_, err := p.sigstore.Commit(t.Context(), p.work, alice, "two")
	p.must(err)
	_, err = p.sigstore.Commit(t.Context(), p.work, carol, "I looked at it\n\nMillwright-Approve: millwright.dev/test refs/heads/main\n")
	p.must(err)
	p.local("switch", "-q", "main")
	p.local("-c", "gpg.format=ssh", "-c", "user.signingKey="+key, "merge", "-q", "--no-ff", "-S", "-m", "merge", "feature")
	p.push("HEAD")
	p.applied()
	if p.value() != "two" {
		t.Fatalf("the cluster says %q", p.value())
	}
	p.auditIsClean(2)
	p.wantAudit(p.export(), audit.Yes)
	source := p.statement(1).Predicate.Source
	commits := source.Range.Commits
	if len(commits) != 3 || commits[2].Forge != "forge-ssh" || commits[2].Kind != "mechanical" || commits[1].Kind != "approval" || commits[1].Signer.Name != "carol" {
		t.Errorf("commits on record: %+v", commits)
	}
	if r := source.Rulings.Entries; len(r) != 1 || r[0].Rule != "everything" || strings.Join(r[0].Vouchers, " ") != "alice carol" || r[0].Commit != source.Commit {
		t.Errorf("rulings on record: %+v", r)
	}

	// The same merge of what nobody approved for this ref is nobody's word.
	p.local("switch", "-q", "feature")
	p.setConfig("three")
	_, err = p.sigstore.Commit(t.Context(), p.work, alice, "three")
	p.must(err)
	p.local("switch", "-q", "main")
	p.local("-c", "gpg.format=ssh", "-c", "user.signingKey="+key, "merge", "-q", "--no-ff", "-S", "-m", "merge", "feature")
	p.push("HEAD")
	p.wantRefused(p.pass(), "rule/intent", "two")
}

// statement is what a record says.
func (p *plant) statement(record int) attest.Statement {
	p.t.Helper()
	var bundle struct{ DSSEEnvelope struct{ Payload []byte } }
	p.must(json.Unmarshal([]byte(p.records()[record].Spec.Bundle), &bundle))
	statement, err := attest.DecodeStatement(bundle.DSSEEnvelope.Payload)
	p.must(err)
	return statement
}
