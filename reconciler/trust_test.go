package reconciler_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/report"
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

// local runs git in the work tree without a signature.
func (p *plant) local(args ...string) string {
	p.t.Helper()
	out, err := p.sigstore.Git(p.t.Context(), p.work, nobody, args...)
	p.must(err)
	return out
}

func TestAStaleSourceIsAnAlarmAndEndsNothing(t *testing.T) { // rule T11, row C22
	p := newPlantWith(t, "  freshness: {maxAge: 1h}\n")
	p.setConfig("two")
	p.commit(alice, "two")
	f := p.applied()
	if c := conditionOf(f, v1alpha1.ConditionStale); c.Type != "" || f.Status.Fresh == nil || time.Since(f.Status.Fresh.Time) > 5*time.Minute {
		t.Fatalf("a fresh commit: Stale %+v, fresh %v", c, f.Status.Fresh)
	}
	p.late = 2 * time.Hour
	f = p.applied()
	if c := conditionOf(f, v1alpha1.ConditionStale); c.Status != metav1.ConditionTrue || c.Reason != report.ReasonSourceStale {
		t.Fatalf("Stale: %+v", c)
	}
	p.edit("mallory-kubectl", "drifted")
	if p.applied(); p.value() != "two" {
		t.Errorf("with a stale source drift is not put back: %q", p.value())
	}
	p.setConfig("three")
	p.commit(alice, "three")
	if p.applied(); p.value() != "three" {
		t.Errorf("with a stale source a good commit is not taken: %q", p.value())
	}
	p.git.SetAway(true)
	p.restart()
	if f = p.pass(); conditionOf(f, v1alpha1.ConditionStale).Reason != report.ReasonSourceStale {
		t.Errorf("after a restart without a source: %+v", f.Status.Conditions)
	}
	p.git.SetAway(false)
	p.late = 0
	if f = p.applied(); conditionOf(f, v1alpha1.ConditionStale).Type != "" {
		t.Errorf("Stale stays: %+v", f.Status.Conditions)
	}
}

// value is what the cluster says.
func (p *plant) value() string {
	p.t.Helper()
	value, _ := p.settings()
	return value
}

// role is the object that the guard rules are about.
func (p *plant) role() string {
	p.t.Helper()
	var role rbacv1.ClusterRole
	err := p.client.Get(p.t.Context(), client.ObjectKey{Name: p.namespace}, &role)
	if apierrors.IsNotFound(err) {
		return ""
	}
	p.must(err)
	return role.Rules[0].Verbs[0]
}

// setBase gives both overlays one base, with a ClusterRole in it.
func (p *plant) setBase(verb string) {
	p.write("bases/shared/kustomization.yaml", "resources: [role.yaml]\n")
	p.write("bases/shared/role.yaml", fmt.Sprintf(
		"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: %s}\nrules: [{apiGroups: [''], resources: [pods], verbs: [%s]}]\n", p.namespace, verb))
	p.write("overlays/local/app/kustomization.yaml", "resources: [config.yaml, ../../../bases/shared]\n")
	p.write("overlays/production/app/kustomization.yaml", "resources: [../../../bases/shared]\n")
}

func TestABaseThatProductionUsesNeedsTheRightsOfProduction(t *testing.T) { // rule T12, row C18
	p := newPlantWith(t, "  - {name: production, affects: [overlays/production], role: security, threshold: 2}\n")
	p.setBase("get")
	p.commit(alice, "a base for both")
	p.approve(bob)
	p.approve(carol)
	p.applied()
	p.setConfig("two")
	p.commit(alice, "overlays/local alone is what a maintainer may change")
	p.applied()
	p.setConfig("three")
	p.setBase("list")
	bad := p.commit(alice, "the base of both")
	for range 2 {
		f := p.pass()
		r := p.wantRefused(f, "rule/affects", "two")
		if r.Commit != bad || len(r.Needs) != 1 || r.Needs[0].Rule != "production" || r.Needs[0].Missing != 2 || p.role() != "get" {
			t.Errorf("refused: %+v; the role may %s", r, p.role())
		}
		p.restart() // it is refused again from nothing
	}
	p.approve(bob)
	p.wantRefused(p.pass(), "rule/affects", "two")
	p.approve(carol)
	p.applied()
	if p.value() != "three" || p.role() != "list" {
		t.Errorf("approved by both, and the cluster says %q and %q", p.value(), p.role())
	}
	p.auditIsClean(3)
}

func TestAGuardThatAChangeAltersNeedsItsOwnRule(t *testing.T) { // rule T12
	p := newPlantWith(t, "  - {name: guards, objects: [{set: rbac}], role: security, threshold: 1}\n")
	p.setBase("get")
	p.commit(alice, "a base with a role")
	p.wantRefused(p.pass(), "rule/objects", "")
	p.approve(bob)
	p.applied()
	p.setConfig("two")
	p.commit(alice, "no guard is touched")
	p.applied()
	for name, change := range map[string]func(){
		"edited": func() { p.setBase("list") },
		"edited by a patch elsewhere": func() {
			p.write("overlays/local/app/kustomization.yaml", "resources: [config.yaml, ../../../bases/shared]\npatches:\n- path: more.yaml\n")
			p.write("overlays/local/app/more.yaml", fmt.Sprintf("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: %s}\nrules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]\n", p.namespace))
		},
		"left out": func() { p.write("overlays/local/app/kustomization.yaml", "resources: [config.yaml]\n") },
		"left out by the configuration": func() {
			p.write("factory-config/factory.yaml", strings.Replace(factoryConfig, "  - {name: app, path: app, dependsOn: [base], drift: correct}\n", "", 1))
		},
	} {
		good := strings.TrimSpace(p.local("rev-parse", "HEAD"))
		change()
		p.setConfig("evil")
		p.commit(alice, name)
		f := p.pass()
		if f.Status.Refused == nil || f.Status.Refused.Code != "rule/objects" || p.value() != "two" || p.role() != "get" {
			t.Errorf("%s: refused %+v; the cluster says %q and %q", name, f.Status.Refused, p.value(), p.role())
		}
		p.local("reset", "-q", "--hard", good)
		p.local("clean", "-q", "-f", "-d")
	}
	p.push("HEAD")
	p.applied()
	p.auditIsClean(2)
}

func TestAnEditedStatusPermitsNothing(t *testing.T) { // rules T10, T12
	p := newPlantWith(t, "  - {name: guards, objects: [{set: rbac}], role: security, threshold: 1}\n")
	p.commit(alice, "good")
	f := p.applied()
	p.setBase("get")
	evil := p.commit(alice, "a role that nobody approved")
	p.wantRefused(p.pass(), "rule/objects", "one")
	p.setConfig("two")
	p.commit(alice, "on top of it")
	p.must(p.client.Get(t.Context(), client.ObjectKeyFromObject(f), f))
	f.Status.Applied.Commit = evil
	p.must(p.client.Status().Update(t.Context(), f))
	p.restart()
	for range 2 {
		if f = p.pass(); f.Status.Refused == nil || f.Status.Refused.Code != "rule/objects" || p.role() != "" || p.value() != "one" {
			t.Fatalf("whoever may edit the status has the role applied: %+v, %q, %q", f.Status.Refused, p.role(), p.value())
		}
	}
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
