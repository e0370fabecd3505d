package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// TestFactory brings up the whole factory, as make factory does, and tries what
// it promises. The scenarios share it and go one after the other, the ones that
// take something away last.
func TestFactory(t *testing.T) {
	log.SetLogger(logr.Discard()) // the client library's
	if os.Getenv("MILLWRIGHT_TEST_FACTORY") == "" {
		t.Skip("SKIPPED: the whole factory was not brought up; MILLWRIGHT_TEST_FACTORY=1 does that (root, minutes): make test-factory")
	}
	f := bringUp(t)
	for _, scenario := range []struct {
		name string
		try  func(*testing.T, *factory)
	}{
		{"NothingIsAppliedByScript", nothingByScript},
		{"ImagesAreSigned", imagesSigned},
		{"TheSameProgramTwice", sameProgramTwice},
		{"CosignVerifies", cosignVerifies},
		{"OnlyWhatWasBuiltIsLetIn", onlyBuilt},
		{"OnlyWhatIsNamedAndSignedRuns", onlyNamed},
		{"WhatARunMayNotSay", runShape},
		{"WhatNobodyMayTouch", untouchable},
		{"ABuildReachesNothing", jailed},
		{"AHostileCommitFindsNothing", hostileFindsNothing},
		{"ACommitThatDoesNotWorkIsNotPublished", failingIsNotPublished},
		{"ACommitDoesNotSayWhatWasBuilt", forgingIsNotBelieved},
		{"DriftIsPutBack", drift},
		{"WhatDoesNotRunSaysWhy", broken},
		{"ASignedCommitUpgrades", upgrade},
		{"OnlyASignedCatalogRuns", signedCatalog},
		{"TheEvidenceHolds", evidence},
		{"WhatStaysUnsignedIsAnAlarm", unsignedIsAnAlarm},
		{"TheNodeStartsAgain", startsAgain},
		{"NothingIsLeft", nothingLeft},
	} {
		if !t.Run(scenario.name, func(t *testing.T) { scenario.try(t, f) }) && scenario.name == "TheNodeStartsAgain" {
			t.Log(f.progress())
		}
	}
}

// factory is a running factory, as its user sees it: a folder.
type factory struct {
	program, root, dir string
	api                client.Client
	before             machine
}

func bringUp(t *testing.T) *factory {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	f := &factory{root: root, dir: filepath.Join(t.TempDir(), "factory"), program: filepath.Join(t.TempDir(), "factory"), before: look(t)}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", f.program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the command: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := f.command(context.Background(), "down"); err != nil {
			t.Errorf("ending the factory: %v\n%s", err, out)
		}
	})
	began := time.Now()
	out, err := f.command(t.Context(), "up")
	t.Logf("make factory, %s:\n%s", time.Since(began).Round(time.Second), out)
	if err != nil {
		t.Fatalf("%v\n%s", err, f.problems(t))
	}
	f.connect(t)
	return f
}

// command runs one of the factory's own.
func (f *factory) command(ctx context.Context, name string) (string, error) {
	cmd := exec.CommandContext(ctx, f.program, name, "-root", f.root, "-dir", f.dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (f *factory) path(parts ...string) string {
	return filepath.Join(append([]string{f.dir}, parts...)...)
}

func (f *factory) progress() string {
	out, _ := os.ReadFile(f.path("progress"))
	return string(out)
}

// problems is what one looks at when it did not come up.
func (f *factory) problems(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, args := range [][]string{
		{"get", "pods", "--all-namespaces"},
		{"get", "factory", "--namespace=millwright-system", "--output=yaml"},
		{"logs", "--namespace=millwright-system", "deployment/millwright-controller", "--tail=20"},
		{"get", "events", "--all-namespaces", "--field-selector=type=Warning"},
	} {
		out, err := f.kubectl(t, args...)
		fmt.Fprintf(&all, "$ kubectl %s (%v)\n%s\n", strings.Join(args, " "), err, out)
	}
	return all.String()
}

func (f *factory) connect(t *testing.T) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", f.path("node", "kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	if f.api, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
}

// as runs a command as a person of the factory, in a folder of its site.
func (f *factory) as(t *testing.T, person, folder string, args ...string) (string, error) {
	t.Helper()
	env, err := os.ReadFile(f.path("site", "people", person, "env.sh"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", append([]string{"-c", string(env) + "\n\"$@\"", "bash"}, args...)...)
	cmd.Dir, cmd.Env = f.path("site", folder), []string{}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// kubectl runs it as the administrator of the cluster.
func (f *factory) kubectl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return f.kubectlOf(t, "", args...)
}

func (f *factory) kubectlOf(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, f.path("site", "bin", "kubectl"), append([]string{"--kubeconfig", f.path("node", "kubeconfig")}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// must is kubectl for what has to succeed.
func (f *factory) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := f.kubectl(t, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// refused checks that kubectl is turned away, and by whom.
func (f *factory) refused(t *testing.T, policy, input string, args ...string) {
	t.Helper()
	out, err := f.kubectlOf(t, input, args...)
	if err == nil {
		t.Errorf("kubectl %s was let through:\n%s", strings.Join(args, " "), out)
		return
	}
	if !strings.Contains(out, policy) {
		t.Errorf("kubectl %s was turned away, but not by %s:\n%s", strings.Join(args, " "), policy, out)
	}
}

// eventually asks until the answer is yes.
func eventually(t *testing.T, within time.Duration, what string, ask func() error) {
	t.Helper()
	began := time.Now()
	for {
		err := ask()
		if err == nil {
			t.Logf("%s after %s", what, time.Since(began).Round(time.Millisecond))
			return
		}
		if time.Since(began) > within {
			t.Fatalf("%s: not within %s: %v", what, within, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// manifest is one of runs/, with words replaced.
func manifest(t *testing.T, name string, words ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("runs", name))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(words); i += 2 {
		if !bytes.Contains(data, []byte(words[i])) {
			t.Fatalf("%s has no %q", name, words[i])
		}
		data = bytes.ReplaceAll(data, []byte(words[i]), []byte(words[i+1]))
	}
	return string(data)
}
