package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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
	toolchain, err := toolchain(ctx)
	if err != nil {
		return nil, err
	}
	millwright := images.Image{Name: "millwright", Entrypoint: "/millwright-controller", Files: map[string]string{
		"/millwright-controller": filepath.Join(own, "millwright-controller"),
		"/millwright-policy":     bin.Path("millwright-policy"),
	}}
	return append(all, toolchain, millwright), nil
}

// inGoroot makes the go command use, and install, archives of the standard library,
// which it compiles into its cache otherwise (https://go.dev/doc/go1.20#go-command).
// Builds here begin with an empty cache.
const inGoroot = "GODEBUG=installgoroot=all"

// toolchain is the image of the compiler, with the standard library compiled as the
// Tasks of the catalog compile what needs it.
func toolchain(ctx context.Context) (images.Image, error) {
	goroot, err := goEnv(ctx, "GOROOT")
	if err != nil {
		return images.Image{}, err
	}
	i := images.Image{
		Name: "go", Entrypoint: "/usr/local/go/bin/go", Leave: []string{"testdata"}, Files: map[string]string{},
		Env: []string{"GOTOOLCHAIN=local", "GOPROXY=off", "GOFLAGS=-trimpath -buildvcs=false", "CGO_ENABLED=0", inGoroot},
	}
	for _, part := range []string{"bin/go", "pkg/tool", "pkg/include", "src", "lib", "VERSION", "go.env"} {
		from := filepath.Join(goroot, part)
		if _, err := os.Stat(from); err == nil {
			i.Files["/usr/local/go/"+part] = from
		}
	}
	archives, err := compileStandard(ctx)
	i.Files["/usr/local/go/pkg/"+runtime.GOOS+"_"+runtime.GOARCH] = archives
	return i, err
}

// compileStandard compiles the standard library, unless it is compiled, and says where
// it is: without paths and without C, since what is compiled otherwise is not used.
func compileStandard(ctx context.Context) (string, error) {
	cache, err := assets.Cache()
	if err != nil {
		return "", err
	}
	version, err := goEnv(ctx, "GOVERSION")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "standard-library", version)
	cmd := exec.CommandContext(ctx, "go", "install", "-trimpath", "-pkgdir", dir, "std")
	cmd.Env = append(os.Environ(), inGoroot, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOOS=", "GOARCH=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling the standard library: %w\n%s", err, out)
	}
	return dir, nil
}

func goEnv(ctx context.Context, name string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", name).Output()
	return strings.TrimSpace(string(out)), err
}
