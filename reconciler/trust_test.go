package reconciler_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/audit"
)

// approve is an empty commit that vouches for what it stands on (rule T7).
func (p *plant) approve(who sigstoretest.Committer) string {
	p.t.Helper()
	return p.commit(who, "I looked at it\n\nMillwright-Approve: millwright.dev/test refs/heads/main\n")
}

// change edits the Factory's spec.
func (p *plant) change(edit func(*v1alpha1.FactorySpec)) {
	p.t.Helper()
	var f v1alpha1.Factory
	p.must(p.client.Get(p.t.Context(), client.ObjectKey{Namespace: p.namespace, Name: "factory"}, &f))
	edit(&f.Spec)
	p.must(p.client.Update(p.t.Context(), &f))
}

// wantRefused demands that nothing of the tip was applied, and says what was refused.
func (p *plant) wantRefused(f *v1alpha1.Factory, code, value string) *v1alpha1.Refused {
	p.t.Helper()
	if f.Status.Refused == nil || f.Status.Refused.Code != code {
		p.t.Fatalf("refused: %+v, want %s; conditions: %+v", f.Status.Refused, code, f.Status.Conditions)
	}
	if now, _ := p.settings(); now != value {
		p.t.Fatalf("the cluster says %q, want %q", now, value)
	}
	return f.Status.Refused
}

func TestWhatIsMissingIsNamedAndAnApprovalMakesItAYes(t *testing.T) { // rules T5, T13
	p := newPlantWith(t, "  - {name: guarded, paths: [overlays/**], role: security, threshold: 2}\n")
	p.write("README", "x")
	p.commit(alice, "good")
	p.applied()
	p.setConfig("two")
	p.commit(alice, "two")
	p.approve(bob)
	f := p.pass()
	r := p.wantRefused(f, "rule/threshold", "one")
	if len(r.Needs) != 1 || r.Needs[0].Rule != "guarded" || r.Needs[0].Missing != 1 || strings.Join(r.Needs[0].Candidates, " ") != "carol" || strings.Join(r.Needs[0].Vouched, " ") != "bob" {
		t.Errorf("needs: %+v", r.Needs)
	}
	if c := conditionOf(f, v1alpha1.ConditionSourceVerified); !strings.Contains(c.Message, "needs 1 more of role security: carol") {
		t.Errorf("SourceVerified: %+v", c)
	}
	p.approve(carol)
	p.applied()
	if now, _ := p.settings(); now != "two" {
		t.Errorf("the cluster says %q", now)
	}
	p.auditIsClean(2)
}

func TestAnAcceptedCommitBeforeARefusedTipIsAppliedOnlyWhereThatIsPermitted(t *testing.T) { // rule T3
	p := newPlant(t)
	p.setConfig("two")
	good := p.commit(alice, "two")
	p.setConfig("evil")
	bad := p.commit(nobody, "evil")
	f := p.pass()
	p.wantRefused(f, "sig/missing", "")
	if f.Status.Accepted != good || f.Status.Applied != nil {
		t.Errorf("accepted %q, applied %+v", f.Status.Accepted, f.Status.Applied)
	}
	p.change(func(s *v1alpha1.FactorySpec) { s.Verify.ApplyAccepted = true })
	for range 2 {
		f = p.pass()
		if r := p.wantRefused(f, "sig/missing", "two"); r.Commit != bad {
			t.Errorf("refused is %s, want %s", r.Commit, bad)
		}
		if f.Status.Applied == nil || f.Status.Applied.Commit != good || conditionOf(f, v1alpha1.ConditionReady).Status != metav1.ConditionFalse {
			t.Errorf("applied: %+v; conditions: %+v", f.Status.Applied, f.Status.Conditions)
		}
		p.auditIsClean(1)
		p.restart()
	}
}

func TestWhatWasAcceptedAndDroppedByAForcePushIsNotApplied(t *testing.T) { // rules T3, T10
	p := newPlant(t)
	p.change(func(s *v1alpha1.FactorySpec) { s.Verify.ApplyAccepted = true })
	p.commit(alice, "good")
	p.applied()
	applied := strings.TrimSpace(p.local("rev-parse", "HEAD"))
	p.write("overlays/local/app/config.yaml", forbidden(p))
	p.commit(alice, "accepted, and denied by a policy")
	p.pass()
	p.local("reset", "-q", "--hard", applied)
	p.setConfig("evil")
	p.commit(nobody, "another line, unsigned")
	f := p.pass()
	p.wantRefused(f, "sig/missing", "one")
	if f.Status.Applied.Commit != applied {
		t.Errorf("applied %s, want %s", f.Status.Applied.Commit, applied)
	}
}

func TestWhatWasAcceptedIsNotAppliedAfterTheRefWentBackBehindIt(t *testing.T) { // rules T3, T10
	p := newPlant(t)
	p.change(func(s *v1alpha1.FactorySpec) { s.Verify.ApplyAccepted = true })
	p.commit(alice, "good")
	p.applied()
	p.setConfig("withdrawn")
	p.commit(alice, "accepted, and not tested yet")
	engine := p.setup.Policy.Path
	p.setup.Policy.Path = "/nonexistent/millwright-policy"
	p.pass()
	p.setup.Policy.Path = engine
	p.push(p.anchor)
	for range 2 {
		p.wantRefused(p.pass(), "hist/rollback", "one")
	}
}

// local runs git in the work tree without a signature.
func (p *plant) local(args ...string) string {
	p.t.Helper()
	out, err := p.sigstore.Git(p.t.Context(), p.work, nobody, args...)
	p.must(err)
	return out
}

// value is what the cluster says.
func (p *plant) value() string {
	p.t.Helper()
	value, _ := p.settings()
	return value
}

func TestAFrontierThatIsLostOrEditedCostsTimeAndNothingElse(t *testing.T) { // row C25
	p := newPlant(t)
	p.setup.FrontierKey, p.setup.Build = []byte(strings.Repeat("k", 32)), "test"
	p.restart()
	p.commit(alice, "good")
	p.applied()
	frontiers := func() []string {
		found, err := filepath.Glob(filepath.Join(p.setup.DataDir, p.namespace, "factory", "frontier*"))
		p.must(err)
		return found
	}
	if len(frontiers()) == 0 {
		t.Fatal("no frontier was kept")
	}
	for i, spoil := range []func(path string){
		func(string) {},
		func(path string) { p.must(os.Remove(path)) },
		func(path string) { p.must(os.WriteFile(path, []byte("{}"), 0o600)) },
		func(path string) {
			data, err := os.ReadFile(path)
			p.must(err)
			data[len(data)/2] ^= 1
			p.must(os.WriteFile(path, data, 0o600))
		},
		func(string) { p.setup.FrontierKey = []byte(strings.Repeat("l", 32)) },
	} {
		for _, path := range frontiers() {
			spoil(path)
		}
		p.restart()
		value := fmt.Sprint(i)
		p.setConfig(value)
		p.commit(alice, value)
		if p.applied(); p.value() != value {
			t.Errorf("%d: the cluster says %q", i, p.value())
		}
		good := strings.TrimSpace(p.local("rev-parse", "HEAD"))
		p.setConfig("evil")
		p.commit(nobody, "unsigned")
		p.wantRefused(p.pass(), "sig/missing", value)
		p.local("reset", "-q", "--hard", good)
	}
	p.auditIsClean(6)
}

// tag pushes a tag of what is at HEAD by somebody.
func (p *plant) tag(who sigstoretest.Committer, name, ref string) {
	p.t.Helper()
	_, err := p.sigstore.Git(p.t.Context(), p.work, who, "tag", "-f", "-m", "a release", name)
	p.must(err)
	p.local("push", "-q", "--force", p.git.Path("factory"), "refs/tags/"+name+":"+ref)
}

func TestAFactoryFollowsASignedTag(t *testing.T) { // rule T14, row A23
	p := newPlantWith(t, "  - {name: guarded, paths: [overlays/**], role: security, threshold: 1}\n")
	p.change(func(s *v1alpha1.FactorySpec) { s.Source.Ref = "refs/tags/v1" })
	p.setConfig("two")
	p.commit(alice, "two")
	two := p.approve(bob) // for refs/heads/main, which is the tag's mainline
	if c := conditionOf(p.pass(), v1alpha1.ConditionSourceVerified); c.Reason != "SourceRefMissing" {
		t.Errorf("no tag yet: %+v", c)
	}
	p.tag(release, "v1", "refs/tags/v1")
	f := p.applied()
	if p.value() != "two" || f.Status.Applied.Commit != two || !strings.HasPrefix(f.Status.Applied.Revision, "v1@sha1:") {
		t.Fatalf("the cluster says %q, applied %+v", p.value(), f.Status.Applied)
	}
	p.tag(nobody, "v1", "refs/tags/v1") // the same commit, by another tag
	p.wantRefused(p.pass(), "tag/unsigned", "two")
	p.tag(release, "v1", "refs/tags/v1")
	p.applied()
	p.setConfig("three")
	p.commit(alice, "three")
	p.approve(bob)
	if p.applied(); p.value() != "two" {
		t.Errorf("the branch is followed: %q", p.value())
	}
	for name, c := range map[string]struct {
		move func()
		code string
	}{
		"signed by somebody who releases nothing": {func() { p.tag(alice, "v1", "refs/tags/v1") }, "tag/role"},
		"signed by a stranger":                    {func() { p.tag(mallory, "v1", "refs/tags/v1") }, "id/subject"},
		"not signed":                              {func() { p.tag(nobody, "v1", "refs/tags/v1") }, "tag/unsigned"},
		"of another name":                         {func() { p.tag(release, "v2", "refs/tags/v1") }, "tag/name"},
		"a bare commit":                           {func() { p.local("push", "-q", "--force", p.git.Path("factory"), "HEAD:refs/tags/v1") }, "tag/unsigned"},
	} {
		c.move()
		for range 2 {
			if f = p.pass(); f.Status.Refused == nil || f.Status.Refused.Code != c.code || p.value() != "two" {
				t.Errorf("a tag %s: refused %+v; the cluster says %q", name, f.Status.Refused, p.value())
			}
			p.late += 5 * time.Minute // edits by hand are minutes apart: no fight
			p.edit("mallory-kubectl", "drifted")
		}
		if p.pass(); p.value() != "two" {
			t.Errorf("a tag %s: drift is not put back", name)
		}
	}
	p.tag(release, "v1", "refs/tags/v1")
	if p.applied(); p.value() != "three" {
		t.Errorf("the good tag moved, and the cluster says %q", p.value())
	}
	p.change(func(s *v1alpha1.FactorySpec) { s.Verify.ApplyAccepted = true })
	p.setConfig("four")
	p.commit(alice, "four, which no tag ever named")
	p.approve(bob)
	p.setConfig("evil")
	p.commit(nobody, "unsigned")
	p.tag(release, "v1", "refs/tags/v1")
	p.wantRefused(p.pass(), "sig/missing", "three")
	p.local("tag", "-f", "-m", "back", "v0", two)
	p.local("checkout", "-q", two)
	p.tag(release, "v1", "refs/tags/v1")
	p.wantRefused(p.pass(), "hist/rollback", "three")
	p.restart()
	p.wantRefused(p.pass(), "hist/rollback", "three")
	p.auditIsClean(2)
	p.wantAudit(p.export(), audit.Yes)
}

func TestARotatedTrustedRootKeepsWhatItStillVouchesFor(t *testing.T) { // trusted root rotation
	p := newPlant(t)
	var ours, theirs map[string]any
	data, err := os.ReadFile(p.sigstore.TrustedRootPath)
	p.must(err)
	p.must(json.Unmarshal(data, &ours))
	virtual, err := sigstoretest.NewVirtual(time.Now())
	p.must(err)
	other, err := virtual.TrustedRootJSON()
	p.must(err)
	p.must(json.Unmarshal(other, &theirs))
	for _, list := range []string{"certificateAuthorities", "tlogs", "ctlogs", "timestampAuthorities"} {
		have, _ := ours[list].([]any)
		more, _ := theirs[list].([]any)
		ours[list] = append(have, more...)
	}
	both, err := json.Marshal(ours)
	p.must(err)
	p.setup.TrustedRoot = filepath.Join(t.TempDir(), "root.json")
	for i, root := range [][]byte{data, both, data} {
		p.must(os.WriteFile(p.setup.TrustedRoot, root, 0o600))
		p.setConfig(fmt.Sprint(i))
		p.commit(alice, "next")
		if p.applied(); p.value() != fmt.Sprint(i) {
			t.Errorf("root %d: the cluster says %q", i, p.value())
		}
	}
	p.must(os.WriteFile(p.setup.TrustedRoot, other, 0o600))
	p.setConfig("evil")
	p.commit(alice, "by an authority that is not trusted any more")
	f := p.pass()
	if f.Status.Refused == nil || p.value() != "2" {
		t.Errorf("refused: %+v; the cluster says %q", f.Status.Refused, p.value())
	}
	p.must(os.WriteFile(p.setup.TrustedRoot, data, 0o600))
	if p.applied(); p.value() != "evil" {
		t.Errorf("the authority is back, and the cluster says %q", p.value())
	}
}

// silentLog is a log that has no entry of anything.
type silentLog struct{ asked int }

func (l *silentLog) Find(context.Context, gitverify.Question) ([][]byte, error) {
	l.asked++
	return nil, fmt.Errorf("%w: nothing", gitverify.ErrNotLogged)
}

func TestALogThatHadNoEntryIsAskedAgain(t *testing.T) { // row B20
	p := newPlantWith(t, "  transparency: {log: online}\n")
	silent := &silentLog{}
	p.setup.Log = silent
	p.restart()
	p.setConfig("two")
	late := alice
	late.Online = true
	p.commit(late, "two")
	for range 3 {
		before := silent.asked
		if p.wantRefused(p.pass(), "log/missing", ""); silent.asked == before {
			t.Error("a pass did not ask the log")
		}
	}
}
