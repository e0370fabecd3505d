package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"millwright.dev/millwright/tools/assets"
	"millwright.dev/millwright/tools/process"
)

const (
	fluxNamespace = "flux-system"
	// requested is the annotation that has a Flux controller look at once.
	requested = "reconcile.fluxcd.io/requestedAt"
)

// fluxParty is Flux's two controllers, with a Kustomization for each path. They
// verify nothing.
type fluxParty struct {
	*bed
	programs assets.Bin
	paths    []string
}

func gitRepositories() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "source.toolkit.fluxcd.io", Version: "v1", Resource: "gitrepositories"}
}

func kustomizations() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "kustomize.toolkit.fluxcd.io", Version: "v1", Resource: "kustomizations"}
}

func fluxSource() target { return target{gitRepositories(), fluxNamespace, "factory"} }

// fluxDefinitions finds a controller's resource definitions in its module.
func fluxDefinitions(ctx context.Context, root, name string) (string, error) {
	dir, err := peerModule(ctx, root, "flux-"+name, "github.com/fluxcd/"+name)
	return filepath.Join(dir, "config", "crd", "bases"), err
}

// peerModule is where the module of a peer is, which has its definitions.
func peerModule(ctx context.Context, root, peer, module string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	cmd.Dir = filepath.Join(root, "bench", "peers", peer)
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("finding the module of %s: %w", peer, err)
	}
	dir := strings.TrimSpace(string(out))
	if dir == "" {
		return "", fmt.Errorf("the module of %s is not on this machine", peer)
	}
	return dir, nil
}

func (x *fluxParty) install(ctx context.Context) error {
	for _, name := range []string{"source-controller", "kustomize-controller"} {
		dir, err := fluxDefinitions(ctx, x.floor.root, name)
		if err != nil {
			return err
		}
		if _, err := x.command(ctx, x.environment(), "kubectl", "apply", "--server-side", "-f", dir); err != nil {
			return err
		}
	}
	for _, args := range []string{"kubectl create namespace " + fluxNamespace, "kubectl wait --for=condition=Established --timeout=60s crd --all"} {
		if _, err := x.command(ctx, x.environment(), strings.Fields(args)...); err != nil {
			return err
		}
	}
	x.spent, x.peak = 0, 0
	return x.startControllers(ctx)
}

// scratch is a folder in memory, as Flux's authors recommend, where there is one.
func (x *fluxParty) scratch(name string) (string, error) {
	dir, err := os.MkdirTemp("/dev/shm", "millwright-bench-")
	if err != nil {
		dir = x.path(name)
		return dir, os.MkdirAll(dir, 0o700)
	}
	x.remove = append(x.remove, dir)
	return dir, nil
}

func (x *fluxParty) startControllers(ctx context.Context) error {
	ports, err := process.Ports(5)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(x.path("artifacts"), 0o700); err != nil { // which source-controller does not do
		return err
	}
	storage := process.Addr(ports[0])
	for i, c := range []struct {
		name string
		args []string
	}{
		{"source-controller", []string{"--storage-path=" + x.path("artifacts"), "--storage-addr=" + storage, "--storage-adv-addr=" + storage, "--concurrent=4"}},
		{"kustomize-controller", []string{"--concurrent=" + strconv.Itoa(x.workers()), "--concurrent-ssa=8", "--requeue-dependency=5s", "--no-remote-bases"}},
	} {
		tmp, err := x.scratch(c.name)
		if err != nil {
			return err
		}
		health := process.Addr(ports[2+2*i])
		p, err := x.start(process.Spec{
			Name: c.name, Path: x.programs.Path("flux-" + c.name),
			Args: append(c.args, "--watch-all-namespaces", "--log-level=error", "--metrics-addr="+process.Addr(ports[1+2*i]), "--health-addr="+health),
			Env:  x.environment("RUNTIME_NAMESPACE="+fluxNamespace, "TMPDIR="+tmp),
		})
		if err != nil {
			return err
		}
		ready, cancel := context.WithTimeout(ctx, time.Minute)
		err = p.Wait(ready, process.OK(httpClient(), "http://"+health+"/readyz"))
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// workers are as many as Flux's own benchmark takes where there are many
// Kustomizations.
func (x *fluxParty) workers() int {
	if len(x.paths) > 1 {
		return 20
	}
	return 4
}

func (x *fluxParty) kustomization(n int) target {
	return target{kustomizations(), fluxNamespace, "factory-" + strconv.Itoa(n)}
}

func (x *fluxParty) begin(ctx context.Context, commit string) error {
	return x.allApplied(ctx, commit, func() error {
		source := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
			"metadata": map[string]any{"name": "factory", "namespace": fluxNamespace},
			"spec":     map[string]any{"interval": "24h", "url": x.remote, "ref": map[string]any{"branch": "main"}},
		}}
		if _, err := fluxSource().in(x.api).Create(ctx, source, metav1.CreateOptions{}); err != nil {
			return err
		}
		return x.createAll(ctx)
	})
}

func (x *fluxParty) createAll(ctx context.Context) error {
	for n, path := range x.paths {
		object := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
			"metadata": map[string]any{"name": x.kustomization(n).name, "namespace": fluxNamespace},
			"spec": map[string]any{
				"interval": "24h", "retryInterval": "2s", "timeout": "10m", "path": "./" + path, "prune": true, "wait": false, "force": false,
				"sourceRef": map[string]any{"kind": "GitRepository", "name": "factory"},
			},
		}}
		if _, err := x.kustomization(n).in(x.api).Create(ctx, object, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// allApplied does something and waits until all Kustomizations say that they
// applied the commit.
func (x *fluxParty) allApplied(ctx context.Context, commit string, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	w, err := x.api.Resource(kustomizations()).Namespace(fluxNamespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	defer w.Stop()
	if err := do(); err != nil {
		return err
	}
	done, last := map[string]bool{}, ""
	for event := range w.ResultChan() {
		o, ok := event.Object.(*unstructured.Unstructured)
		if !ok || event.Type == watch.Error {
			return fmt.Errorf("watching Flux's Kustomizations: %v", event.Object)
		}
		revision, _, _ := unstructured.NestedString(o.Object, "status", "lastAppliedRevision")
		if strings.HasSuffix(revision, commit) && condition(o, "Ready", "True") {
			done[o.GetName()] = true
		}
		if len(done) == len(x.paths) {
			return nil
		}
		last = fmt.Sprint(o.Object["status"])
	}
	return fmt.Errorf("%d of %d Kustomizations applied the commit; the last one said: %s", len(done), len(x.paths), tail([]byte(last)))
}

// ask has a controller look at an object at once, and waits until it did.
func (x *fluxParty) ask(ctx context.Context, t target) error {
	token := strconv.FormatInt(time.Now().UnixNano(), 10)
	handled := func(o *unstructured.Unstructured) (bool, error) {
		if o == nil {
			return false, errors.New("it is gone")
		}
		got, _, _ := unstructured.NestedString(o.Object, "status", "lastHandledReconcileAt")
		return got == token && condition(o, "Ready", "True"), nil
	}
	return x.until(ctx, t, handled, func() error { return x.annotate(ctx, t, token) })
}

func (x *fluxParty) annotate(ctx context.Context, t target, token string) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, requested, token)
	_, err := t.in(x.api).Patch(ctx, t.name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "bench"})
	return err
}

func (x *fluxParty) again(ctx context.Context) error {
	if err := x.ask(ctx, fluxSource()); err != nil {
		return err
	}
	return x.repair(ctx)
}

// repair asks all Kustomizations at once.
func (x *fluxParty) repair(ctx context.Context) error {
	errs := make([]error, len(x.paths))
	var all sync.WaitGroup
	for n := range x.paths {
		all.Go(func() { errs[n] = x.ask(ctx, x.kustomization(n)) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// follow asks the source: a new artifact wakes the Kustomizations.
func (x *fluxParty) follow(ctx context.Context, commit string) error {
	return x.allApplied(ctx, commit, func() error {
		return x.annotate(ctx, fluxSource(), "push-"+commit)
	})
}
