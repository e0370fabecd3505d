package main

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"millwright.dev/millwright/tools/assets"
	"millwright.dev/millwright/tools/images"
)

// program is an image of one program of tools/assets.
type program struct {
	image, asset string
	place        string // of the program in the image, if others know one
	root         bool   // has to act on the node
}

// programs are the images of one program each, by the name that manifests use.
func programs() []program {
	return []program{
		{image: "pause", asset: "pause"},
		{image: "coredns", asset: "coredns"},
		{image: "spiffe-csi", asset: "spiffe-csi", root: true},
		{image: "volumes", asset: "volumes", root: true},
		{image: "spire-server", asset: "spire-server"},
		{image: "spire-agent", asset: "spire-agent", root: true},
		{image: "spire-oidc", asset: "oidc-discovery-provider"},
		{image: "spire-controller-manager", asset: "spire-controller-manager"},
		{image: "fulcio", asset: "fulcio"},
		{image: "rekor", asset: "rekor-server"},
		{image: "timestamp-server", asset: "timestamp-server"},
		{image: "ct-server", asset: "ct_server"},
		{image: "trillian", asset: "trillian-memory"},
		{image: "kyverno", asset: "kyverno"},
		{image: "kyverno-init", asset: "kyverno-init"},
		{image: "kyverno-background", asset: "kyverno-background"},
		{image: "kyverno-cleanup", asset: "kyverno-cleanup"},
		{image: "kyverno-reports", asset: "kyverno-reports"},
		{image: "tekton-controller", asset: "tekton-controller"},
		{image: "tekton-webhook", asset: "tekton-webhook"},
		{image: "tekton-events", asset: "tekton-events"},
		{image: "tekton-resolvers", asset: "tekton-resolvers"},
		{image: "tekton-entrypoint", asset: "tekton-entrypoint", place: "/ko-app/entrypoint"},
		{image: "tekton-nop", asset: "tekton-nop", place: "/ko-app/nop"},
		{image: "tekton-sidecarlogresults", asset: "tekton-sidecarlogresults", place: "/ko-app/sidecarlogresults"},
		{image: "tekton-workingdirinit", asset: "tekton-workingdirinit", place: "/ko-app/workingdirinit"},
		{image: "tekton-chains", asset: "tekton-chains"},
		{image: "step", asset: "step"},
		{image: "files", asset: "step"},
		{image: "cosign", asset: "cosign"},
		{image: "conformance", asset: "conformance"},
	}
}

// catalog are all images of the factory, from programs that are built.
func catalog(ctx context.Context, bin assets.Bin, own string) ([]images.Image, error) {
	var all []images.Image
	for _, p := range programs() {
		place := cmp.Or(p.place, "/app/"+p.image)
		i := images.Image{Name: p.image, Files: map[string]string{place: bin.Path(p.asset)}, Entrypoint: place}
		if p.root {
			i.User = "0:0"
		}
		all = append(all, i)
	}
	goroot, err := goroot(ctx)
	if err != nil {
		return nil, err
	}
	toolchain := images.Image{
		Name: "go", Entrypoint: "/usr/local/go/bin/go", Leave: []string{"testdata", "api", "doc", "test", "misc"}, Files: map[string]string{},
		Env: []string{"GOTOOLCHAIN=local", "GOPROXY=off", "GOFLAGS=-trimpath -buildvcs=false", "CGO_ENABLED=0"},
	}
	for _, part := range []string{"bin/go", "pkg/tool", "pkg/include", "src", "lib", "VERSION", "go.env"} {
		from := filepath.Join(goroot, part)
		if _, err := os.Stat(from); err == nil {
			toolchain.Files["/usr/local/go/"+part] = from
		}
	}
	millwright := images.Image{Name: "millwright", Entrypoint: "/millwright-controller", Files: map[string]string{
		"/millwright-controller": filepath.Join(own, "millwright-controller"),
		"/millwright-policy":     bin.Path("millwright-policy"),
	}}
	return append(all, toolchain, millwright), nil
}

func goroot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	return strings.TrimSpace(string(out)), err
}
