package apply

import (
	"fmt"
	"strings"
	"testing"

	"millwright.dev/millwright/reconciler/faultproxy"
	"millwright.dev/millwright/reconciler/kubetest"
	"millwright.dev/millwright/reconciler/plan"
)

// The first pass over an empty cluster lists kinds once, and none of which every
// object is in a namespace that is not there; what is there is found all the same.
func TestAFirstPassDoesNotLookForWhatCannotBeThere(t *testing.T) {
	t.Parallel()
	proxy, err := faultproxy.Start(kubetest.Shared(t).Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.Stop)
	s := siteAt(t, proxy.Config(), "first")
	s.namespace("first-there")
	var one, two []string
	for i := range 10 {
		one = append(one, configMap("NAME-there", fmt.Sprintf("c%d", i), "x"))
		two = append(two, strings.Replace(deployment, "name: web, namespace: NAME", fmt.Sprintf("name: web%d, namespace: NAME-new", i), 1))
	}
	two = append(two, namespaceDoc("NAME-new"))
	s.appliedByTool("first-there", "c3")
	m := s.components(map[string]string{"first-one": strings.Join(one, "\n---\n"), "first-two": strings.Join(two, "\n---\n")}, "first-one", "first-two")
	before := len(proxy.Log())
	p := s.plan(m)
	asked := map[string]int{}
	for _, seen := range proxy.Log()[before:] {
		asked[seen.Verb+" "+seen.Resource]++
	}
	if asked["list deployments"] != 0 || asked["list namespaces"] != 1 || asked["get configmaps"] != 1 { // the one that is there
		t.Errorf("asked for %v", asked)
	}
	found := 0
	for _, c := range p.Changes() {
		if c.Op == plan.Create {
			found++
		}
	}
	if found != 20 || p.Empty() {
		t.Errorf("%d of 21 objects are to be made; one is there\n%s", found, p.Text())
	}
	if _, set := s.pass(m); s.get(deployments, "first-new", "web0") == nil {
		t.Error(describe(set))
	}
}
