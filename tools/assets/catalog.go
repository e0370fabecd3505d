package assets

import "slices"

// asset is one program, or several that are linked into one file.
type asset struct {
	module  string   // folder of the nested module, relative to the repository
	pkg     string   // package to build in it
	names   []string // file names; the first is the file, the others link to it
	version string   // what the progress line says
	ldflags string
	tags    string // build tags, with commas between them
	cgo     bool   // has C in it: needs a C compiler, and is linked statically all the same
	minutes int    // of a first build on two cores, for the progress line
	groups  group
}

// group says who runs a program; a program may be in several. What is in none
// is built for those who name it only: it is what Millwright is compared with.
type group uint8

const (
	usual   group = 1 << iota // tests, the demonstration and the linter
	factory                   // the whole factory on one machine
)

// kubeVersion keeps the API server from reporting v0.0.0, which clients and
// manifests that ask for a minimum version would refuse.
const kubeVersion = "-X k8s.io/component-base/version.gitVersion=v1.36.3 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36" +
	" -X k8s.io/client-go/pkg/version.gitVersion=v1.36.3 -X k8s.io/client-go/pkg/version.gitMajor=1 -X k8s.io/client-go/pkg/version.gitMinor=36"

// cniVersion is what a plugin says of itself on standard error, and to -h.
const cniVersion = "-X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=v1.9.1"

// containerdVersion makes NRI start: it takes no "2.2.9+unknown" for a version.
const containerdVersion = "-X github.com/containerd/containerd/v2/version.Version=v2.2.9"

// containerdTags leave out what asks for filesystems that a node here has not.
const containerdTags = "no_btrfs,no_devmapper,no_zfs,urfave_cli_no_docs"

// spireVersion and kyvernoVersion are what these would read from a tag in Git.
const (
	spireVersion   = "-X github.com/spiffe/spire/pkg/common/version.gittag=1.15.3"
	kyvernoVersion = "-X github.com/kyverno/kyverno/pkg/version.BuildVersion=v1.19.1"
)

// catalog lists every program there is. Versions stand here for the progress
// line only: what is built is what the modules' go.mod and go.sum pin.
func catalog() []asset {
	return []asset{
		{module: "tools/sigstore", pkg: "./trillian-memory", names: []string{"trillian-memory"}, version: "1.7.3", minutes: 1, groups: usual | factory},
		{module: "tools/sigstore", pkg: "./oidc-issuer", names: []string{"oidc-issuer"}, minutes: 1, groups: usual | factory},
		{module: "tools/sigstore", pkg: "github.com/sigstore/fulcio", names: []string{"fulcio"}, version: "1.8.8", minutes: 1, groups: usual | factory},
		{module: "tools/sigstore", pkg: "github.com/sigstore/rekor/cmd/rekor-server", names: []string{"rekor-server"}, version: "1.5.4", minutes: 2, groups: usual | factory},
		{module: "tools/sigstore", pkg: "./timestamp-server", names: []string{"timestamp-server"}, version: "2.1.3", minutes: 1, groups: usual | factory},
		{module: "tools/sigstore", pkg: "github.com/google/certificate-transparency-go/trillian/ctfe/ct_server", names: []string{"ct_server"}, version: "1.3.3", minutes: 1, groups: usual | factory},
		{module: "tools/gitsign", pkg: "github.com/sigstore/gitsign", names: []string{"gitsign"}, version: "0.17.1", minutes: 2, groups: usual | factory},
		{module: "tools/cosign", pkg: "github.com/sigstore/cosign/v2/cmd/cosign", names: []string{"cosign"}, version: "2.6.5", minutes: 2, groups: usual | factory},
		{module: "tools/cosign3", pkg: "github.com/sigstore/cosign/v3/cmd/cosign", names: []string{"cosign3"}, version: "3.1.2", minutes: 3, groups: usual},
		{module: "tools/rekor-tiles", pkg: "github.com/sigstore/rekor-tiles/v2/cmd/rekor-server/posix", names: []string{"rekor-tiles"}, version: "2.3.0", minutes: 1, groups: usual},
		{module: "tools/cosign", pkg: "./conformance", names: []string{"conformance"}, minutes: 1, groups: factory},
		{module: "tools/redis", pkg: ".", names: []string{"redis"}, version: "miniredis 2.40.0", minutes: 1, groups: usual | factory},
		{module: "tools/registry", pkg: ".", names: []string{"registry"}, minutes: 1, groups: usual | factory},
		{module: "tools/kube", pkg: ".", names: []string{"kube", "kube-apiserver", "etcd", "kubectl"}, version: "1.36.3 with etcd 3.6.8", ldflags: kubeVersion, minutes: 5, groups: usual | factory},
		{module: "tools/node", pkg: ".", names: []string{"node", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"}, version: "1.36.3", ldflags: kubeVersion, minutes: 5, groups: usual | factory},
		{module: "tools/cni", pkg: "github.com/containernetworking/plugins/plugins/main/bridge", names: []string{"bridge"}, version: "1.9.1", ldflags: cniVersion, minutes: 1, groups: factory},
		{module: "tools/cni", pkg: "github.com/containernetworking/plugins/plugins/ipam/host-local", names: []string{"host-local"}, version: "1.9.1", ldflags: cniVersion, minutes: 1, groups: factory},
		{module: "tools/cni", pkg: "github.com/containernetworking/plugins/plugins/main/loopback", names: []string{"loopback"}, version: "1.9.1", ldflags: cniVersion, minutes: 1, groups: factory},
		{module: "tools/containerd", pkg: "github.com/containerd/containerd/v2/cmd/containerd", names: []string{"containerd"}, version: "2.2.9", ldflags: containerdVersion, tags: containerdTags, minutes: 2, groups: factory},
		{module: "tools/containerd", pkg: "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2", names: []string{"containerd-shim-runc-v2"}, version: "2.2.9", ldflags: containerdVersion, tags: containerdTags + ",no_grpc", minutes: 1, groups: factory},
		{module: "tools/containerd", pkg: "github.com/containerd/containerd/v2/cmd/ctr", names: []string{"ctr"}, version: "2.2.9", ldflags: containerdVersion, tags: containerdTags, minutes: 1, groups: factory},
		{module: "tools/runc", pkg: "github.com/opencontainers/runc", names: []string{"runc"}, version: "1.3.6", tags: "seccomp,urfave_cli_no_docs", cgo: true, minutes: 1, groups: factory},
		{module: "tools/pods", pkg: "./pause", names: []string{"pause"}, minutes: 1, groups: factory},
		{module: "tools/pods", pkg: "./spiffe-csi", names: []string{"spiffe-csi"}, minutes: 1, groups: factory},
		{module: "tools/pods", pkg: "./volumes", names: []string{"volumes"}, minutes: 1, groups: factory},
		{module: "tools/pods", pkg: "./step", names: []string{"step"}, minutes: 1, groups: factory},
		{module: "tools/pods", pkg: "./factory-jail", names: []string{"factory-jail"}, minutes: 1, groups: factory},
		{module: "tools/coredns", pkg: ".", names: []string{"coredns"}, version: "1.15.0", minutes: 3, groups: factory},
		{module: "tools/spire", pkg: "github.com/spiffe/spire/cmd/spire-server", names: []string{"spire-server"}, version: "1.15.3", ldflags: spireVersion, tags: "sqlite_omit_load_extension", cgo: true, minutes: 6, groups: factory},
		{module: "tools/spire", pkg: "github.com/spiffe/spire/cmd/spire-agent", names: []string{"spire-agent"}, version: "1.15.3", ldflags: spireVersion, minutes: 1, groups: factory},
		{module: "tools/spire", pkg: "github.com/spiffe/spire/support/oidc-discovery-provider", names: []string{"oidc-discovery-provider"}, version: "1.15.3", ldflags: spireVersion, minutes: 1, groups: factory},
		{module: "tools/spire-controller-manager", pkg: "github.com/spiffe/spire-controller-manager/cmd", names: []string{"spire-controller-manager"}, version: "0.6.4", minutes: 1, groups: factory},
		{module: "tools/tekton", pkg: "github.com/tektoncd/pipeline/cmd/controller", names: []string{"tekton-controller"}, version: "1.15.1", minutes: 2, groups: factory},
		{module: "tools/tekton", pkg: "github.com/tektoncd/pipeline/cmd/webhook", names: []string{"tekton-webhook"}, version: "1.15.1", minutes: 1, groups: factory},
		{module: "tools/tekton", pkg: "github.com/tektoncd/pipeline/cmd/events", names: []string{"tekton-events"}, version: "1.15.1", minutes: 1, groups: factory},
		{module: "tools/tekton", pkg: "./resolvers", names: []string{"tekton-resolvers"}, version: "1.15.1", minutes: 1, groups: factory},
		{module: "tools/tekton", pkg: "github.com/tektoncd/pipeline/cmd/entrypoint", names: []string{"tekton-entrypoint"}, version: "1.15.1", minutes: 1, groups: factory},
		{module: "tools/tekton", pkg: "github.com/tektoncd/pipeline/cmd/nop", names: []string{"tekton-nop"}, version: "1.15.1", minutes: 1, groups: factory},
		{module: "tools/tekton", pkg: "github.com/tektoncd/pipeline/cmd/sidecarlogresults", names: []string{"tekton-sidecarlogresults"}, version: "1.15.1", minutes: 1, groups: factory},
		{module: "tools/tekton", pkg: "github.com/tektoncd/pipeline/cmd/workingdirinit", names: []string{"tekton-workingdirinit"}, version: "1.15.1", minutes: 1, groups: factory},
		{module: "tools/tekton", pkg: "./catalog", names: []string{"tekton-catalog"}, minutes: 1, groups: usual | factory},
		{module: "tools/chains", pkg: "github.com/tektoncd/chains/cmd/controller", names: []string{"tekton-chains"}, version: "0.28.1", minutes: 3, groups: factory},
		{module: "tools/kyverno", pkg: "github.com/kyverno/kyverno/cmd/kyverno", names: []string{"kyverno"}, version: "1.19.1", ldflags: kyvernoVersion, minutes: 4, groups: factory},
		{module: "tools/kyverno", pkg: "github.com/kyverno/kyverno/cmd/kyverno-init", names: []string{"kyverno-init"}, version: "1.19.1", ldflags: kyvernoVersion, minutes: 1, groups: factory},
		{module: "tools/kyverno", pkg: "github.com/kyverno/kyverno/cmd/background-controller", names: []string{"kyverno-background"}, version: "1.19.1", ldflags: kyvernoVersion, minutes: 1, groups: factory},
		{module: "tools/kyverno", pkg: "github.com/kyverno/kyverno/cmd/cleanup-controller", names: []string{"kyverno-cleanup"}, version: "1.19.1", ldflags: kyvernoVersion, minutes: 1, groups: factory},
		{module: "tools/kyverno", pkg: "github.com/kyverno/kyverno/cmd/reports-controller", names: []string{"kyverno-reports"}, version: "1.19.1", ldflags: kyvernoVersion, minutes: 1, groups: factory},
		{module: "cmd/millwright-policy", pkg: ".", names: []string{"millwright-policy"}, minutes: 4, groups: usual | factory},
		{module: "tools/lint", pkg: ".", names: []string{"golangci-lint"}, version: "2.15.0", minutes: 3, groups: usual},
		{module: "bench/peers/flux-source-controller", pkg: "github.com/fluxcd/source-controller", names: []string{"flux-source-controller"}, version: "1.9.6", minutes: 4},
		{module: "bench/peers/flux-kustomize-controller", pkg: "github.com/fluxcd/kustomize-controller", names: []string{"flux-kustomize-controller"}, version: "1.9.5", minutes: 4},
		{module: "bench/peers/argo-cd", pkg: "github.com/argoproj/argo-cd/v3/cmd", names: []string{"argocd"}, version: "3.5.7", minutes: 4},
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

// Usual lists what the tests and the demonstration run.
func Usual() []string { return named(usual) }

// Factory lists what the whole factory on one machine is made of: programs of
// the node, and those that go into images.
func Factory() []string { return named(factory) }

func named(g group) []string {
	var names []string
	for _, a := range catalog() {
		if a.groups&g != 0 {
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
