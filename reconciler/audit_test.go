package reconciler_test

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/audit"
	"millwright.dev/millwright/reconciler/source"
)

// TestWhatTheLoopLeavesBehindIsAuditedOfflineAndAgainstTheCluster has the real
// loop apply a history with a branch and a merge, exports what is there, and goes
// over it again.
func TestWhatTheLoopLeavesBehindIsAuditedOfflineAndAgainstTheCluster(t *testing.T) {
	p := newPlant(t)
	p.setConfig("two")
	p.commit(alice, "two")
	p.applied()
	p.local("checkout", "-q", "-b", "branch")
	p.setConfig("three")
	p.commit(alice, "three")
	p.local("checkout", "-q", "main")
	p.write("README", "more")
	p.commit(carol, "beside it")
	_, err := p.sigstore.Git(t.Context(), p.work, alice, "merge", "-q", "-S", "--no-ff", "-m", "merge", "branch")
	p.must(err)
	p.push("HEAD")
	p.applied()
	export := p.export()
	p.wantAudit(export, audit.Yes)
	p.edit("mallory-kubectl", "drifted")
	p.wantAudit(export, audit.No, audit.CodeLiveDiffers)
	p.pass()
	p.wantAudit(p.export(), audit.Yes)
}

func (p *plant) export() []byte {
	p.t.Helper()
	store, err := source.OpenLocal(p.git.Path("factory"))
	p.must(err)
	records := reconciler.Records(p.records())
	companions, err := reconciler.Companions(p.t.Context(), p.client, client.ObjectKey{Namespace: p.namespace, Name: "factory"})
	p.must(err)
	var out bytes.Buffer
	p.must(audit.Write(p.t.Context(), &out, audit.Evidence{
		Factory: attest.Factory{Namespace: p.namespace, Name: "factory"}, Ref: "refs/heads/main", Records: records, Companions: companions,
	}, audit.Contents{History: store}))
	return out.Bytes()
}

// The records that the loop makes of drift answer the claim that there was none.
func TestWhatTheLoopRecordsOfDriftAnswersAClaim(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	p.edit("mallory-kubectl", "drifted")
	p.applied()
	p.late += 2 * time.Minute
	p.applied()
	stretch := p.enforcedIn(1)
	claim := audit.Claim{Kind: audit.ClaimNoDrift, Environment: "local", From: stretch.From, To: stretch.To}
	r := p.audit(p.export(), func(o *audit.Options) { o.Claim, o.Live = &claim, nil })
	if r.Claim.Answer != audit.No || !slices.Equal(r.Claim.Records, []int64{2}) || r.Claim.Drift[0].Managers[0] != "mallory-kubectl" || r.Answer != audit.No {
		t.Errorf("the claim: %+v\n%s", r.Claim, r.Text())
	}
	// After it there was none; but a key signed without a log, so that nothing
	// proves when the record was made.
	claim.From = stretch.Drift.Entries[0].EndedOn
	r = p.audit(p.export(), func(o *audit.Options) { o.Claim, o.Live = &claim, nil })
	if r.Claim.Answer != audit.Unknown || r.Claim.DriftCount != 0 || !strings.Contains(r.Claim.Open[0].Why, "nothing proves") {
		t.Errorf("the claim: %+v\n%s", r.Claim, r.Text())
	}
}

// wantAudit audits an export as somebody who knows anchor, key and head.
func (p *plant) wantAudit(export []byte, answer audit.Answer, codes ...string) {
	p.t.Helper()
	report := p.audit(export, func(*audit.Options) {})
	var found []string
	for _, f := range report.Findings {
		found = append(found, f.Code)
	}
	if report.Answer != answer || !slices.Equal(found, codes) || strings.Contains(report.Text(), "drifted") {
		p.t.Errorf("the audit says %q, want %q with %v\n%s", report.Answer, answer, codes, report.Text())
	}
}

func (p *plant) audit(export []byte, change func(*audit.Options)) audit.Report {
	p.t.Helper()
	e, err := audit.Open(p.t.Context(), bytes.NewReader(export), p.t.TempDir())
	p.must(err)
	root, err := os.ReadFile(p.setup.TrustedRoot)
	p.must(err)
	o := audit.Options{
		Signers: []attest.Policy{{Key: p.setup.Key.Public(), UnsafeWithoutLog: true}}, Factory: e.Factory, Anchor: gitverify.ID(p.anchor),
		Head: e.Records[len(e.Records)-1].Digest, Release: p.setup.Release, Clock: time.Now,
	}
	o.TrustedRoot, err = attest.ParseTrustedRoot(root)
	p.must(err)
	o.Commits, err = gitverify.ParseTrustedRoot(root)
	p.must(err)
	o.Live = func(ctx context.Context, s attest.Statement, v gitverify.Verification) (audit.Comparison, error) {
		tree, err := gitverify.OpenTree(ctx, e.Objects, v)
		if err != nil {
			return audit.Comparison{}, err
		}
		place := s.Place()
		different, declared, err := reconciler.Live(ctx, p.cluster.Config(), client.ObjectKey{Namespace: p.namespace, Name: "factory"}, tree, place.Target.Environment)
		return audit.Comparison{Different: different, Looked: declared}, err
	}
	change(&o)
	report, err := audit.Run(p.t.Context(), e, o)
	p.must(err)
	return report
}
