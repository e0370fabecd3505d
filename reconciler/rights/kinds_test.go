package rights

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"millwright.dev/millwright/reconciler/kubetest"
)

func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }

// The table is right if the API server says so: nothing in it is served
// elsewhere, and nothing that can be applied is missing.
func TestTheTableOfKindsIsThatOfTheAPIServer(t *testing.T) {
	t.Parallel()
	d, err := discovery.NewDiscoveryClientForConfig(kubetest.Shared(t).Config())
	if err != nil {
		t.Fatal(err)
	}
	_, lists, err := d.ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	served := kinds{}
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			if !strings.Contains(r.Name, "/") && slices.Contains(r.Verbs, "patch") {
				served[groupKind{gv.Group, r.Kind}] = resource{r.Name, r.Namespaced}
			}
		}
	}
	if diff := cmp.Diff(served, builtIn(), cmp.AllowUnexported(groupKind{}, resource{})); diff != "" {
		t.Errorf("-served +table:\n%s", diff)
	}
}
