package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// bootstrapped are all objects that are not Millwright's work: the node's names,
// its own installation, and what must not be in Git.
var bootstrapped = []string{
	"clusterrolebindings /system:coredns", "clusterroles /system:coredns", "configmaps kube-system/coredns",
	"deployments kube-system/coredns", "serviceaccounts kube-system/coredns", "services kube-system/kube-dns",

	"configmaps millwright-system/millwright-trusted-root", "secrets millwright-system/millwright-attest-key",
	"configmaps build-sample/sigstore-trust", "configmaps factory-conformance/sigstore-trust", "configmaps sigstore/tuf-repository", "secrets sigstore/sigstore-keys", "secrets tekton-chains/signing-secrets",

	// What was built with it, for the demonstration.
	"pipelineruns build-sample/", "pods release-sample/",
}

// ours are the field managers of people and scripts; what controllers of the
// cluster and of the components write has theirs.
func ours(m metav1.ManagedFieldsEntry) bool {
	return m.Manager == manager || strings.HasPrefix(m.Manager, "kubectl") || strings.HasPrefix(m.Manager, "factory")
}

// Whatever a person or a script has written is on the list, and what is not on the
// list and was applied, Millwright has applied.
func nothingByScript(t *testing.T, f *factory) {
	config, err := clientcmd.BuildConfigFromFlags("", f.path("node", "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	config.WarningHandler = rest.NoWarnings{}
	disco, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	kinds, err := disco.ServerPreferredResources()
	if err != nil {
		t.Fatal(err)
	}
	md, err := metadata.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	byScript, applied := map[string]bool{}, 0
	for _, group := range kinds {
		for _, r := range group.APIResources {
			if !slices.Contains(r.Verbs, "list") {
				continue
			}
			gv, err := schema.ParseGroupVersion(group.GroupVersion)
			if err != nil {
				t.Fatal(err)
			}
			gvr := gv.WithResource(r.Name)
			list, err := md.Resource(gvr).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatalf("%s: %v", gvr, err)
			}
			for _, o := range list.Items {
				for _, m := range o.ManagedFields {
					switch {
					case ours(m):
						byScript[r.Name+" "+o.Namespace+"/"+o.Name] = true
					case m.Operation == metav1.ManagedFieldsOperationApply && strings.HasPrefix(m.Manager, "millwright/"):
						applied++
					}
				}
			}
		}
	}
	for name := range maps.Keys(byScript) {
		if !onList(name) {
			t.Errorf("%s was written by a script", name)
		}
	}
	if applied < 200 {
		t.Errorf("Millwright has applied %d objects", applied)
	}
	t.Logf("%d objects by Millwright, %d from the list", applied, len(byScript))
}

// onList says whether the object is on the list, or of Millwright's own
// installation (overlays/local/millwright), which is generated.
func onList(object string) bool {
	kind, name, _ := strings.Cut(object, " ")
	installation := strings.Contains(name, "millwright") && slices.Contains([]string{
		"namespaces", "serviceaccounts", "roles", "rolebindings", "clusterroles", "clusterrolebindings", "deployments", "networkpolicies",
		"customresourcedefinitions", "validatingadmissionpolicies", "validatingadmissionpolicybindings", "factories",
	}, kind)
	// Its rights are in namespaces that it then owns: those have to be there first.
	named := kind == "namespaces"
	return installation || named || slices.ContainsFunc(bootstrapped, func(b string) bool {
		return object == b || strings.HasSuffix(b, "/") && strings.HasPrefix(object, b)
	})
}
