package architecture

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "millwright.dev/millwright"

// layer is a set of packages that stand side by side: none imports another of
// its layer (siblings), nor of a later one.
type layer struct {
	why      string
	packages []string
}

// layers go from what everything may use to what nothing may use.
var layers = []layer{
	{"what needs to know nothing of the project", []string{"internal/parallel", "internal/visible"}},
	{"a question each, answered without knowing who asks", []string{"reconciler/api", "reconciler/api/v1alpha1", "gitverify", "gitverify/forgekey", "gitverify/trustpolicy", "gitverify/tufroot", "gitverify/publicgood", "gitverify/rekorlog", "render", "render/health"}},
	{"they read what the first layer made, and write nothing to a cluster", []string{"render/policy", "render/factory", "render/upstream", "reconciler/source", "reconciler/plan", "reconciler/rights"}},
	{"stages that act or report: that one need not know another is what makes them testable alone", []string{"reconciler/apply", "reconciler/drift", "reconciler/attest", "reconciler/report"}},
	{"it goes again over what the stages left behind, and acts on nothing", []string{"reconciler/audit"}},
	{"the loop is the only place where stages meet", []string{"reconciler"}},
	{"flags, streams and exit codes", []string{"cmd/millwright", "cmd/millwright-controller"}},
}

// kits are for tests and the demonstration. A product that can start a
// pretended Fulcio, or build programs, is one accident away from doing so.
var kits = []string{"gitverify/sigstoretest", "gitverify/forgekey/forgekeytest", "gitverify/tufroot/tuftest", "reconciler/audit/audittest", "reconciler/kubetest", "reconciler/factorytest", "reconciler/faultproxy", "render/policy/policytest", "tools/", "bench/", "e2e", "e2e/"}

// links are rules on everything that ends up in a binary, not only on imports.
var links = []struct {
	of, never, why string
}{
	{"gitverify", "github.com/sigstore/gitsign", "docs/decisions/0002: it took the identity from a certificate that need not be the signer's"},
	{"gitverify", "github.com/sigstore/cosign", "docs/decisions/0002: library code that calls log.Fatal and asks a live TUF server"},
	{"gitverify", "k8s.io/client-go", "a history is verified on a laptop, without a cluster"},
	{"gitverify", "k8s.io/api", "a history is verified on a laptop, without a cluster"},
	{"gitverify", "sigs.k8s.io/controller-runtime", "a history is verified on a laptop, without a cluster"},
	{"gitverify", "sigs.k8s.io/kustomize", "verification comes before rendering and must not depend on it"},
	{"render", "k8s.io/client-go", "rendering is a function of the tree alone"},
	{"render", "sigs.k8s.io/controller-runtime", "rendering is a function of the tree alone"},
	{"render", "github.com/go-git/go-git", "it is given a verified tree and must not be able to find another"},
	{"render/policy", "github.com/kyverno", "docs/decisions/0001: the engine is a process of its own, so that it can die alone"},
	{"render/policy", "github.com/tektoncd", "docs/decisions/0001: the engine is a process of its own, so that it can die alone"},
	{"reconciler/plan", "k8s.io/client-go", "a plan is decided from values and can be checked offline"},
	{"reconciler/plan", "sigs.k8s.io/controller-runtime", "a plan is decided from values and can be checked offline"},
	{"reconciler/rights", "k8s.io/client-go", "rights are computed from manifests, before there is anybody who may ask a cluster"},
	{"reconciler/attest", "k8s.io/client-go", "evidence must be checkable offline, by somebody without a cluster"},
	{"reconciler/attest", "sigs.k8s.io/controller-runtime", "evidence must be checkable offline, by somebody without a cluster"},
	{"reconciler/audit", "k8s.io/client-go", "evidence must be checkable offline, by somebody without a cluster"},
	{"reconciler/audit", "sigs.k8s.io/controller-runtime", "evidence must be checkable offline, by somebody without a cluster"},
	{"reconciler/source", "k8s.io/client-go", "fetching needs credentials as values, not a cluster to look them up in"},
	{"cmd/millwright", "github.com/kyverno", "docs/decisions/0001: its graph does not fit ours"},
	{"cmd/millwright-controller", "github.com/kyverno", "docs/decisions/0001: its graph does not fit ours"},
	{"cmd/millwright-controller", "github.com/sigstore/cosign", "docs/decisions/0002: library code that calls log.Fatal"},
	{"e2e/preflight", "k8s.io", "it speaks before anything is built, and compiling this takes minutes"},
	{"cmd/millwright-controller", "github.com/sigstore/sigstore-go/pkg/testing", "a controller follows a trusted root that expires, not the snapshot in a package for tests"},
}

// listed is what the go command says of one package.
type listed struct {
	ImportPath    string
	Imports, Deps []string
}

// packages asks the go command once for all packages of the module.
var packages = sync.OnceValues(func() (map[string]listed, error) {
	cmd := exec.Command("go", "list", "-e", "-deps=false", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	found := map[string]listed{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, err
		}
		found[strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")] = p
	}
})

func load(t *testing.T) map[string]listed {
	t.Helper()
	found, err := packages()
	if err != nil {
		t.Fatalf("listing the packages: %v", err)
	}
	return found
}

// ours lists the imports of a package that are of this module.
func ours(p listed) []string {
	var paths []string
	for _, path := range p.Imports {
		if rest, ok := strings.CutPrefix(path, module+"/"); ok {
			paths = append(paths, rest)
		}
	}
	return paths
}

func layerOf(path string) int {
	return slices.IndexFunc(layers, func(l layer) bool { return slices.Contains(l.packages, path) })
}

func isKit(path string) bool {
	return slices.ContainsFunc(kits, func(kit string) bool {
		return path == kit || strings.HasSuffix(kit, "/") && strings.HasPrefix(path, kit)
	})
}

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	for path, p := range load(t) {
		from := layerOf(path)
		if from < 0 {
			continue
		}
		for _, imported := range ours(p) {
			to := layerOf(imported)
			switch {
			case isKit(imported):
				t.Errorf("%s imports %s: kits are for tests only", path, imported)
			case nests(path, imported) || nests(imported, path) && to <= from:
				// A package and the folders in it are one subject.
			case to < 0:
				t.Errorf("%s imports %s, which stands in no layer", path, imported)
			case to > from:
				t.Errorf("%s imports %s to its right; its layer: %s", path, imported, layers[from].why)
			case to == from:
				t.Errorf("%s imports its sibling %s; their layer: %s", path, imported, layers[from].why)
			}
		}
	}
}

// nests says that the second path lies in the first one and is of its layer.
func nests(outer, inner string) bool {
	return strings.HasPrefix(inner, outer+"/") && layerOf(outer) == layerOf(inner)
}

func TestEveryPackageHasItsPlace(t *testing.T) {
	t.Parallel()
	found := load(t)
	for path := range found {
		if layerOf(path) < 0 && !isKit(path) && path != "overlays" && !strings.HasPrefix(path, "internal/") {
			t.Errorf("%s stands in no layer: add it to the table with its reason", path)
		}
	}
	for _, l := range layers {
		for _, path := range l.packages {
			if _, ok := found[path]; !ok {
				t.Errorf("the table of layers names %s, which does not exist", path)
			}
		}
	}
}

func TestWhatMustNotBeLinkedIsNotLinked(t *testing.T) {
	t.Parallel()
	found := load(t)
	for _, rule := range links {
		p, ok := found[rule.of]
		if !ok {
			t.Errorf("there is no package %s", rule.of)
		}
		for _, dep := range p.Deps {
			if dep == rule.never || strings.HasPrefix(dep, rule.never+"/") {
				t.Errorf("%s links %s: %s", rule.of, dep, rule.why)
			}
		}
	}
}
