package assets

import "slices"

// asset is one program, or several that are linked into one file.
type asset struct {
	module  string   // folder of the nested module, relative to the repository
	pkg     string   // package to build in it
	names   []string // file names; the first is the file, the others link to it
	version string   // what the progress line says
	ldflags string
	minutes int  // of a first build on two cores, for the progress line
	optIn   bool // built for those who name it only: what Millwright is compared with
}

// kubeVersion keeps the API server from reporting v0.0.0, which clients and
// manifests that ask for a minimum version would refuse.
const kubeVersion = "-X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36" +
	" -X k8s.io/client-go/pkg/version.gitVersion=v1.36.3 -X k8s.io/client-go/pkg/version.gitMajor=1 -X k8s.io/client-go/pkg/version.gitMinor=36"

// catalog lists every program there is. Versions stand here for the progress
// line only: what is built is what the modules' go.mod and go.sum pin.
func catalog() []asset {
	return []asset{
		{module: "tools/sigstore", pkg: "./trillian-memory", names: []string{"trillian-memory"}, version: "1.7.3", minutes: 1},
		{module: "tools/sigstore", pkg: "./oidc-issuer", names: []string{"oidc-issuer"}, minutes: 1},
		{module: "tools/sigstore", pkg: "github.com/sigstore/fulcio", names: []string{"fulcio"}, version: "1.8.8", minutes: 1},
		{module: "tools/sigstore", pkg: "github.com/sigstore/rekor/cmd/rekor-server", names: []string{"rekor-server"}, version: "1.5.4", minutes: 2},
		{module: "tools/sigstore", pkg: "./timestamp-server", names: []string{"timestamp-server"}, version: "2.1.3", minutes: 1},
		{module: "tools/sigstore", pkg: "github.com/google/certificate-transparency-go/trillian/ctfe/ct_server", names: []string{"ct_server"}, version: "1.3.3", minutes: 1},
		{module: "tools/gitsign", pkg: "github.com/sigstore/gitsign", names: []string{"gitsign"}, version: "0.17.1", minutes: 2},
		{module: "tools/cosign", pkg: "github.com/sigstore/cosign/v2/cmd/cosign", names: []string{"cosign"}, version: "2.6.5", minutes: 2},
		{module: "tools/redis", pkg: ".", names: []string{"redis"}, version: "miniredis 2.40.0", minutes: 1},
		{module: "tools/registry", pkg: ".", names: []string{"registry"}, minutes: 1},
		{module: "tools/kube", pkg: ".", names: []string{"kube", "kube-apiserver", "etcd", "kubectl"}, version: "1.36.3 with etcd 3.6.8", ldflags: kubeVersion, minutes: 5},
		{module: "tools/controllers", pkg: ".", names: []string{"kube-controller-manager"}, version: "1.36.3", ldflags: kubeVersion, minutes: 3},
		{module: "cmd/millwright-policy", pkg: ".", names: []string{"millwright-policy"}, minutes: 4},
		{module: "tools/lint", pkg: ".", names: []string{"golangci-lint"}, version: "2.15.0", minutes: 3},
		{module: "bench/peers/flux-source-controller", pkg: "github.com/fluxcd/source-controller", names: []string{"flux-source-controller"}, version: "1.9.6", minutes: 4, optIn: true},
		{module: "bench/peers/flux-kustomize-controller", pkg: "github.com/fluxcd/kustomize-controller", names: []string{"flux-kustomize-controller"}, version: "1.9.5", minutes: 4, optIn: true},
	}
}

// Names lists what Ensure knows, in the order of the catalog.
func Names() []string {
	var names []string
	for _, a := range catalog() {
		names = append(names, a.names...)
	}
	return names
}

// Usual lists what the tests and the demonstration run: all but what has to be
// asked for by name.
func Usual() []string {
	var names []string
	for _, a := range catalog() {
		if !a.optIn {
			names = append(names, a.names...)
		}
	}
	return names
}

// lookup finds the asset that provides a program.
func lookup(name string) (asset, bool) {
	for _, a := range catalog() {
		if slices.Contains(a.names, name) {
			return a, true
		}
	}
	return asset{}, false
}
