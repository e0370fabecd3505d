package assets

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Not parallel: they set the environment.

func TestAProgramIsBuiltOnceAndThenTakenFromTheCache(t *testing.T) {
	t.Setenv("MILLWRIGHT_CACHE", t.TempDir())
	var first, second bytes.Buffer
	bin, err := Ensure(t.Context(), &first, "oidc-issuer")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(first.String(), "building oidc-issuer") {
		t.Errorf("first build says %q", first.String())
	}
	if err := exec.CommandContext(t.Context(), bin.Path("oidc-issuer"), "-addr", "192.0.2.1:80").Run(); err == nil {
		t.Error("the issuer serves an address that is not loopback")
	}
	again, err := Ensure(t.Context(), &second, "oidc-issuer", "oidc-issuer")
	if err != nil {
		t.Fatal(err)
	}
	if second.Len() != 0 || again.Path("oidc-issuer") != bin.Path("oidc-issuer") {
		t.Errorf("built again: %q, %s", second.String(), again.Path("oidc-issuer"))
	}
}

func TestTwoCallersAtOnceBuildOnce(t *testing.T) {
	t.Setenv("MILLWRIGHT_CACHE", t.TempDir())
	var out [2]bytes.Buffer
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() {
			if _, err := Ensure(t.Context(), &out[i], "oidc-issuer"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := strings.Count(out[0].String()+out[1].String(), "built oidc-issuer"); n != 1 {
		t.Errorf("built %d times", n)
	}
}

func TestAChangedFileOrToolchainIsAnotherProgram(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("m/go.mod", "module m\n")
	write("m/main.go", "package main\n")
	a := asset{module: "m", pkg: ".", names: []string{"m"}}
	digest := func(version string) string {
		t.Helper()
		d, err := builder{root: root, toolchain: toolchain{version: version}}.digest(a)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	before := digest("go1")
	if digest("go2") == before {
		t.Error("the toolchain does not count")
	}
	write("m/main_test.go", "package main\n")
	if digest("go1") != before {
		t.Error("a test counts")
	}
	write("m/internal/a.go", "package internal\n")
	if digest("go1") == before {
		t.Error("a file in a folder does not count")
	}
}

func TestAFailedBuildTellsTheCompilersWordsAndLeavesNothing(t *testing.T) {
	t.Parallel()
	root, cache := t.TempDir(), t.TempDir()
	for name, content := range map[string]string{"go.mod": "module m\n\ngo 1.26.0\n", "main.go": "package main\n\nfunc main() { undefinedName() }\n"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tc, err := findToolchain(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	b := builder{root: root, cache: cache, toolchain: tc, progress: &bytes.Buffer{}}
	_, err = b.ensure(t.Context(), asset{module: ".", pkg: ".", names: []string{"m"}})
	if err == nil || !strings.Contains(err.Error(), "undefinedName") {
		t.Errorf("error is %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(cache, "m")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestWaitingForALockEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := builder{cache: t.TempDir(), progress: &bytes.Buffer{}}
	unlock, err := b.lock(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.lock(ctx, "x"); err == nil {
		t.Error("got a lock that somebody holds")
	}
}

func TestEveryProgramOfTheCatalogIsMadeOfItsModuleAlone(t *testing.T) {
	t.Parallel()
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range catalog() {
		mod, err := os.ReadFile(filepath.Join(root, a.module, "go.mod"))
		if err != nil {
			t.Errorf("%s: %v", a.names[0], err)
		}
		for word := range strings.FieldsSeq(a.version) {
			if word[0] >= '0' && word[0] <= '9' && !strings.Contains(string(mod), " v"+word) {
				t.Errorf("%s calls itself %s, which its go.mod does not pin", a.names[0], word)
			}
		}
		if strings.Contains(string(mod), "=> .") {
			t.Errorf("%s takes code from a folder outside its module, which its digest would not notice", a.names[0])
		}
	}
	if _, err := Ensure(t.Context(), nil, "no-such-program"); err == nil || !strings.Contains(err.Error(), "kube-apiserver") {
		t.Errorf("an unknown name answers %v, without the names there are", err)
	}
}

func TestWhatTheFactoryRunsIsWhatItsManifestsAreOf(t *testing.T) {
	t.Parallel()
	root, err := findRoot()
	if err != nil {
		t.Fatal(err)
	}
	for base, module := range map[string]string{
		"kyverno": "tools/kyverno", "spire": "tools/spire-controller-manager", "tekton-chains": "tools/chains", "tekton-pipelines": "tools/tekton",
	} {
		lock, err := os.ReadFile(filepath.Join(root, "bases", base, "upstream.lock"))
		if err != nil {
			t.Fatal(err)
		}
		mod, err := os.ReadFile(filepath.Join(root, module, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		if pin := lockField(t, lock, "module") + " " + lockField(t, lock, "version") + " "; !strings.Contains(strings.ReplaceAll(string(mod), "\n", " "), pin) {
			t.Errorf("bases/%s has manifests of %q, which is not what %s builds", base, pin, module)
		}
	}
}

func lockField(t *testing.T, lock []byte, name string) string {
	t.Helper()
	for line := range strings.Lines(string(lock)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+": "); ok {
			return value
		}
	}
	t.Fatalf("the lock has no %s", name)
	return ""
}

func TestPeersAreBuiltForThoseWhoNameThem(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"flux-source-controller", "flux-kustomize-controller", "argocd"} {
		if slices.Contains(Usual(), name) {
			t.Errorf("%s is built by everybody", name)
		}
		if !slices.Contains(Names(), name) {
			t.Errorf("%s cannot be asked for", name)
		}
	}
	if !slices.Contains(Usual(), "kube-apiserver") {
		t.Error("the API server has to be asked for")
	}
}

func TestWhatOnlyTheFactoryRunsIsNotBuiltForATest(t *testing.T) {
	t.Parallel()
	if !slices.Contains(Factory(), "bridge") || slices.Contains(Usual(), "bridge") {
		t.Error("the bridge of the pods' network belongs to the factory alone")
	}
	if !slices.Contains(Factory(), "kube-apiserver") {
		t.Error("the factory has no API server")
	}
	for _, name := range []string{"golangci-lint", "flux-source-controller"} {
		if slices.Contains(Factory(), name) {
			t.Errorf("the factory is made to build %s", name)
		}
	}
}

func TestHowAProgramIsCompiledIsPartOfItsName(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "go.mod"), []byte("module m\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for what, a := range map[string]asset{
		"plain": {}, "linker flags": {ldflags: "-X a.b=c"}, "a tag": {tags: "x"}, "C": {cgo: true}, "C and a tag": {cgo: true, tags: "x"},
	} {
		a.module, a.pkg, a.names = ".", ".", []string{"m"}
		d, err := builder{root: root}.digest(a)
		if err != nil {
			t.Fatal(err)
		}
		if other, taken := seen[d]; taken {
			t.Errorf("%s and %s are one program", what, other)
		}
		seen[d] = what
	}
}

func TestOnlyAProgramThatSaysSoHasCInIt(t *testing.T) {
	t.Parallel()
	for _, a := range []asset{{pkg: "."}, {pkg: ".", tags: "x"}} {
		if !slices.Contains(a.env(), "CGO_ENABLED=0") || strings.Contains(strings.Join(a.flags(), " "), "-static") {
			t.Errorf("%+v is built with %v and %v", a, a.env(), a.flags())
		}
	}
	a := asset{pkg: ".", tags: "x", cgo: true}
	if !slices.Contains(a.env(), "CGO_ENABLED=1") || !slices.Contains(a.flags(), "x,netgo,osusergo") || !strings.Contains(strings.Join(a.flags(), " "), static) {
		t.Errorf("a program with C in it is built with %v and %v", a.env(), a.flags())
	}
}
