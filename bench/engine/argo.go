package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/tools/assets"
	"millwright.dev/millwright/tools/process"
)

const (
	argoNamespace = "argocd"
	// refreshed is the annotation that has Argo CD look at once, as a forge's hook does.
	refreshed = "argocd.argoproj.io/refresh"
)

// argoParty is Argo CD's application controller and repository server, with one
// Application. It verifies nothing, and repairs drift by itself (selfHeal).
type argoParty struct {
	*bed
	programs assets.Bin
}

func argoResource(name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: name}
}

func application() target { return target{argoResource("applications"), argoNamespace, "factory"} }

func (x *argoParty) install(ctx context.Context) error {
	dir, err := peerModule(ctx, x.floor.root, "argo-cd", "github.com/argoproj/argo-cd/v3")
	if err != nil {
		return err
	}
	// What the server, which does not run here, would make: a key and the project.
	project := `{"apiVersion":"argoproj.io/v1alpha1","kind":"AppProject","metadata":{"name":"default"},` +
		`"spec":{"sourceRepos":["*"],"destinations":[{"namespace":"*","server":"*"}],"clusterResourceWhitelist":[{"group":"*","kind":"*"}]}}`
	if err := os.WriteFile(x.path("project.json"), []byte(project), 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"apply", "--server-side", "-k", filepath.Join(dir, "manifests", "crds")},
		{"create", "namespace", argoNamespace},
		{"apply", "-n", argoNamespace, "-k", filepath.Join(dir, "manifests", "base", "config")},
		{"patch", "-n", argoNamespace, "secret", "argocd-secret", "-p", `{"stringData":{"server.secretkey":"bench","admin.password":"bench"}}`},
		{"wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"},
		{"apply", "-n", argoNamespace, "-f", x.path("project.json")},
	} {
		if _, err := x.command(ctx, x.environment(), append([]string{"kubectl"}, args...)...); err != nil {
			return err
		}
	}
	if err := x.helpers(); err != nil {
		return err
	}
	x.spent, x.peak = 0, 0
	return x.startServers(ctx)
}

// helpers are programs that the repository server runs: kubectl has the same kustomize in
// it, and nobody wants to know who signed.
func (x *argoParty) helpers() error {
	for _, dir := range []string{"bin", "tls", "ssh", "gpg", "plugins"} {
		if err := os.MkdirAll(x.path(dir), 0o700); err != nil {
			return err
		}
	}
	for name, script := range map[string]string{
		"kustomize":             "case \"$1\" in\nbuild) shift; exec kubectl kustomize \"$@\" ;;\nversion) echo v5.8.1 ;;\n*) exit 2 ;;\nesac\n",
		"git-verify-wrapper.sh": "exit 0\n",
	} {
		if err := os.WriteFile(x.path("bin", name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			return err
		}
	}
	return nil
}

func (x *argoParty) startServers(ctx context.Context) error {
	ports, err := process.Ports(4)
	if err != nil {
		return err
	}
	redis, repository := process.Addr(ports[0]), process.Addr(ports[1])
	tmp, err := os.MkdirTemp("/dev/shm", "millwright-bench-")
	if err != nil {
		return err
	}
	x.remove = append(x.remove, tmp)
	env := func(program string) []string {
		return append([]string{"PATH=" + x.path("bin") + ":" + x.floor.site.Path("bin") + ":" + os.Getenv("PATH")}, append(x.environment()[1:],
			"ARGOCD_BINARY_NAME="+program, "TMPDIR="+tmp, "ARGOCD_FAKE_IN_CLUSTER=true", "ARGOCD_GPG_ENABLED=false",
			"ARGOCD_TLS_DATA_PATH="+x.path("tls"), "ARGOCD_SSH_DATA_PATH="+x.path("ssh"), "ARGOCD_GNUPGHOME="+x.path("gpg"), "ARGOCD_GPG_DATA_PATH="+x.path("gpg"),
			"ARGOCD_PLUGINSOCKFILEPATH="+x.path("plugins"), "ARGOCD_ASK_PASS_SOCK="+filepath.Join(tmp, "ask"),
			"ARGOCD_K8S_CLIENT_QPS=1000", "ARGOCD_K8S_CLIENT_BURST=2000", "ARGOCD_CONTROLLER_REPLICAS=1", "HOSTNAME=argocd-application-controller-0")...)
	}
	for _, server := range []struct {
		name, program, path string
		args                []string
		health              string
	}{
		{"redis", "redis", x.programs.Path("redis"), []string{"-addr", redis}, ""},
		{"repo-server", "argocd-repo-server", x.programs.Path("argocd"), []string{
			"--address=127.0.0.1", "--metrics-address=127.0.0.1", fmt.Sprintf("--port=%d", ports[1]), fmt.Sprintf("--metrics-port=%d", ports[2]),
			"--disable-tls", "--client-ca-path=", "--redis=" + redis, "--loglevel=error",
		}, process.Addr(ports[2])},
		// Its metrics are on every address: there is no flag for that.
		{"application-controller", "argocd-application-controller", x.programs.Path("argocd"), []string{
			"--repo-server=" + repository, "--repo-server-plaintext", fmt.Sprintf("--metrics-port=%d", ports[3]), "--redis=" + redis, "--loglevel=error",
			"--namespace=" + argoNamespace, "--server-side-diff-enabled", "--self-heal-backoff-timeout-seconds=0",
		}, process.Addr(ports[3])},
	} {
		p, err := x.start(process.Spec{Name: server.name, Path: server.path, Args: server.args, Env: env(server.program)})
		if err != nil {
			return err
		}
		if server.health == "" {
			continue
		}
		ready, cancel := context.WithTimeout(ctx, time.Minute)
		err = p.Wait(ready, process.OK(httpClient(), "http://"+server.health+"/healthz"))
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// synced holds when Argo CD says that it applied a commit.
func synced(commit string) func(*unstructured.Unstructured) (bool, error) {
	return func(o *unstructured.Unstructured) (bool, error) {
		if o == nil {
			return false, errors.New("the Application is gone")
		}
		phase, _, _ := unstructured.NestedString(o.Object, "status", "operationState", "phase")
		revision, _, _ := unstructured.NestedString(o.Object, "status", "operationState", "syncResult", "revision")
		return phase == "Succeeded" && revision == commit, nil
	}
}

func (x *argoParty) begin(ctx context.Context, commit string) error {
	app := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
		"metadata": map[string]any{"name": application().name, "namespace": argoNamespace},
		"spec": map[string]any{
			"project":     "default",
			"source":      map[string]any{"repoURL": x.remote, "path": local, "targetRevision": "main"},
			"destination": map[string]any{"server": "https://kubernetes.default.svc", "namespace": "default"},
			"syncPolicy": map[string]any{
				"automated":   map[string]any{"prune": true, "selfHeal": true},
				"syncOptions": []any{"ServerSideApply=true", "SkipDryRunOnMissingResource=true"},
				"retry":       map[string]any{"limit": int64(20), "backoff": map[string]any{"duration": "1s", "factor": int64(1), "maxDuration": "1s"}},
			},
		},
	}}
	return x.until(ctx, application(), synced(commit), func() error {
		_, err := application().in(x.api).Create(ctx, app, metav1.CreateOptions{})
		return err
	})
}

func (x *argoParty) refresh(ctx context.Context) error {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:"normal"}}}`, refreshed)
	_, err := application().in(x.api).Patch(ctx, application().name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "bench"})
	return err
}

// again asks for a look, which is over when the annotation that asks is gone.
func (x *argoParty) again(ctx context.Context) error {
	asked := false
	return x.until(ctx, application(), func(o *unstructured.Unstructured) (bool, error) {
		if o == nil {
			return false, errors.New("the Application is gone")
		}
		_, waits := o.GetAnnotations()[refreshed]
		asked = asked || waits
		return asked && !waits, nil
	}, func() error { return x.refresh(ctx) })
}

func (x *argoParty) follow(ctx context.Context, commit string) error {
	return x.until(ctx, application(), synced(commit), func() error { return x.refresh(ctx) })
}

// repair has nothing to tell: it watches.
func (x *argoParty) repair(context.Context) error { return nil }

// rest implements [restless]: it says that it is done and goes on comparing for half a
// minute. What then still comes up, now and then, is held.
func (x *argoParty) rest(ctx context.Context) error {
	if err := x.idle(ctx); err != nil {
		return err
	}
	return x.signal(syscall.SIGSTOP)
}

// wake implements [restless]. What fell due while it was held comes first.
func (x *argoParty) wake(ctx context.Context) error {
	if err := x.signal(syscall.SIGCONT); err != nil {
		return err
	}
	return x.idle(ctx)
}

func (x *argoParty) signal(sig syscall.Signal) error {
	var errs []error
	for _, p := range x.running {
		errs = append(errs, p.Signal(sig))
	}
	return errors.Join(errs...)
}

// idle waits until it uses less than a twentieth of a core.
func (x *argoParty) idle(ctx context.Context) error {
	const look, little = 2 * time.Second, 100 * time.Millisecond
	for range 90 {
		before, err := x.used()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
		after, err := x.used()
		if err != nil || after.party-before.party < little {
			return err
		}
	}
	return errors.New("it does not come to rest")
}
