package reconciler_test

import (
	"fmt"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/audit"
)

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
	p.write("overlays/production/more/kustomization.yaml", "resources: []\n")
	p.commit(alice, "a component that production did not have")
	p.wantRefused(p.pass(), "rule/affects", "three")
	p.auditIsClean(3)
	p.wantAudit(p.export(), audit.Yes)
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
		"left out by the configuration alone": func() {
			p.write("factory-config/factory.yaml", strings.Replace(factoryConfig, "  - {name: app, path: app, dependsOn: [base], drift: correct}\n", "", 1))
		},
	} {
		good := strings.TrimSpace(p.local("rev-parse", "HEAD"))
		change()
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
	p.wantAudit(p.export(), audit.Yes)
}

func TestAStatusWithoutEvidencePermitsNothing(t *testing.T) { // rules T10, T12
	p := newPlantWith(t, "  - {name: guards, objects: [{set: rbac}], role: security, threshold: 1}\n")
	p.setBase("get")
	evil := p.commit(alice, "a role that nobody approved")
	var f v1alpha1.Factory
	p.must(p.client.Get(t.Context(), client.ObjectKey{Namespace: p.namespace, Name: "factory"}, &f))
	f.Status.Applied = &v1alpha1.Applied{Revision: "main@sha1:0", Commit: evil, Rendered: "sha256:0", Time: metav1.Now()}
	p.must(p.client.Status().Update(t.Context(), &f))
	for _, text := range []string{"as the tip", "below the tip"} {
		if f := p.pass(); f.Status.Refused == nil || f.Status.Refused.Code != "rule/objects" || p.role() != "" {
			t.Fatalf("%s: whoever may edit the status has the role applied: %+v, %q", text, f.Status.Refused, p.role())
		}
		p.setConfig("two")
		p.commit(alice, "on top of it")
	}
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
