package localfactory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/api"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/tools/process"
)

// Install puts the resource definitions and the controller's namespace into the
// cluster. The namespace gets no labels: those are the factory's to declare, and
// a label that somebody else owns would be a conflict.
func (s *Site) Install(ctx context.Context) error {
	if err := os.MkdirAll(s.Path("install"), 0o700); err != nil {
		return err
	}
	entries, err := api.CRDs.ReadDir("crds")
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := api.CRDs.ReadFile("crds/" + e.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.Path("install", e.Name()), data, 0o600); err != nil {
			return err
		}
	}
	namespace := "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: " + Namespace + "\n"
	if err := os.WriteFile(s.Path("install", "namespace.yaml"), []byte(namespace), 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"kubectl", "apply", "--server-side", "--field-manager=bootstrap", "-f", "install/"},
		{"kubectl", "wait", "--for=condition=Established", "--timeout=60s", "crd/factories.millwright.dev", "crd/appliedrevisions.millwright.dev"},
	} {
		if _, err := s.Must(ctx, s.Operator(), args...); err != nil {
			return err
		}
	}
	return nil
}

// InstallRestricted installs what overlays/local/millwright of the repository
// says, as an administrator would: the controller gets those rights and no
// others, and the factory is applied as the accounts of its components.
func (s *Site) InstallRestricted(ctx context.Context) error {
	overlay, err := filepath.Abs(filepath.Join(s.options.Root, "overlays", "local", "millwright"))
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"kubectl", "apply", "--server-side", "--field-manager=bootstrap", "-k", overlay},
		{"kubectl", "wait", "--for=condition=Established", "--timeout=60s", "crd/factories.millwright.dev", "crd/appliedrevisions.millwright.dev"},
	} {
		if _, err := s.Must(ctx, s.Operator(), args...); err != nil {
			return err
		}
	}
	access, err := s.Cluster.ServiceAccount(ctx, Namespace, "millwright-controller", lifetime)
	if err != nil {
		return err
	}
	s.access = s.Path("controller", "kubeconfig")
	return s.Cluster.WriteKubeconfig(s.access, access)
}

// Factory is the object that makes the controller follow the repository from
// the anchor on.
func (s *Site) Factory(anchor string, interval time.Duration) *v1alpha1.Factory {
	f := &v1alpha1.Factory{
		TypeMeta:   metav1.TypeMeta{APIVersion: "millwright.dev/v1alpha1", Kind: "Factory"},
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: Name},
		Spec: v1alpha1.FactorySpec{
			Source: v1alpha1.SourceSpec{
				URL: s.SourceURL, Ref: "refs/heads/main",
				Interval: metav1.Duration{Duration: interval}, Timeout: metav1.Duration{Duration: time.Minute},
			},
			Verify:      v1alpha1.VerifySpec{Anchor: anchor},
			Environment: "local",
			Attest: v1alpha1.AttestSpec{
				Signer: "Keyless", Fulcio: s.Sigstore.FulcioURL, Rekor: s.Sigstore.RekorURL, TimestampAuthority: s.Sigstore.TimestampURL + "/api/v1/timestamp",
				Issuer: s.Sigstore.IssuerURL(sigstoretest.Workload), Subject: Subject,
				Repository: s.Registry.Host + "/factory/rendered",
			},
		},
	}
	if s.access != "" {
		f.Spec.Apply.ServiceAccountPrefix = "millwright-"
	}
	return f
}

// WriteFactory writes the Factory to factory.yaml in the site's folder, for
// kubectl to apply.
func (s *Site) WriteFactory(f *v1alpha1.Factory) error {
	object := map[string]any{
		"apiVersion": f.APIVersion, "kind": f.Kind,
		"metadata": map[string]any{"namespace": f.Namespace, "name": f.Name}, "spec": f.Spec,
	}
	data, err := yaml.Marshal(object)
	if err != nil {
		return err
	}
	return os.WriteFile(s.Path("factory.yaml"), data, 0o600)
}

// StartController starts the real controller with the given policy process, and
// with more flags if any are given, and waits until it is ready.
func (s *Site) StartController(ctx context.Context, policyEngine string, flags ...string) error {
	if err := s.LaunchController(ctx, policyEngine, flags...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return s.controller.Wait(ctx, process.OK(&http.Client{}, "http://"+process.Addr(s.ports[2])+"/readyz"))
}

// LaunchController starts it and waits for nothing, for those who end it before it
// is ready, or who measure from its start.
func (s *Site) LaunchController(ctx context.Context, policyEngine string, flags ...string) error {
	token, err := s.Sigstore.Token(ctx, sigstoretest.Workload, Subject, lifetime)
	if err != nil {
		return fmt.Errorf("giving the controller a token: %w", err)
	}
	if err := os.WriteFile(s.Path("controller", "token"), []byte(token), 0o600); err != nil {
		return err
	}
	access := []string{"--kubeconfig", s.Cluster.Kubeconfig}
	if s.access != "" {
		access = []string{"--kubeconfig", s.access, "--watch-namespace", Namespace, "--namespace", Namespace, "--leader-elect"}
	}
	s.controller, err = process.Start(process.Spec{
		Name: "millwright-controller", Path: s.Path("bin", "millwright-controller"),
		Args: slices.Concat(access, []string{
			"--data-dir", s.Path("controller", "data"),
			"--trusted-root", s.Sigstore.TrustedRootPath, "--identity-token-file", s.Path("controller", "token"),
			"--policy-engine", policyEngine,
			"--poke-addr", process.Addr(s.ports[0]), "--metrics-addr", process.Addr(s.ports[1]), "--health-addr", process.Addr(s.ports[2]),
		}, flags),
		Dir: s.Path("controller"), Env: []string{"HOME=" + s.Path("controller"), "TMPDIR=" + os.TempDir()},
		Log: s.Path("controller.log"),
	})
	return err
}

// Controller is the controller's process, for those who count its CPU time; nil
// before it was started.
func (s *Site) Controller() *process.Process { return s.controller }

// KillController ends the controller as a crash does.
func (s *Site) KillController() { s.controller.Kill() }

// ControllerLog is the end of what the controller wrote.
func (s *Site) ControllerLog(lines int) string {
	if s.controller == nil {
		return ""
	}
	return s.controller.LastLines(lines)
}

// MetricsURL is where the controller tells its metrics.
func (s *Site) MetricsURL() string { return "http://" + process.Addr(s.ports[1]) + "/metrics" }

// PokeURL is where a forge would tell the controller of a push.
func (s *Site) PokeURL() string {
	return "http://" + process.Addr(s.ports[0]) + "/poke/" + Namespace + "/" + Name
}

// Poke tells the controller of a push.
func (s *Site) Poke(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.PokeURL(), strings.NewReader(""))
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return fmt.Errorf("poking the controller: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("poking the controller: %w", err)
	}
	if resp.StatusCode != http.StatusAccepted {
		return errors.New("poking the controller: " + resp.Status + ": " + string(body))
	}
	return nil
}
