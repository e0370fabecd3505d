package kubetest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestTheAdministratorMayWriteAndAStrangerMayNot(t *testing.T) {
	t.Parallel()
	c := Shared(t)
	admin := kubernetes.NewForConfigOrDie(c.Config())
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "kubetest-"}}
	made, err := admin.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	access, err := c.ConfigFor("mallory")
	if err != nil {
		t.Fatal(err)
	}
	stranger := kubernetes.NewForConfigOrDie(access)
	if _, err := stranger.CoreV1().Namespaces().Get(t.Context(), made.Name, metav1.GetOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a stranger reads a namespace: %v", err)
	}
	out, err := exec.CommandContext(t.Context(), c.Kubectl, "--kubeconfig", c.Kubeconfig, "get", "namespace", made.Name, "-o", "name").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "namespace/"+made.Name {
		t.Errorf("kubectl says %s: %v", out, err)
	}
	version, err := admin.Discovery().ServerVersion()
	if err != nil || version.GitVersion != "v1.36.3" {
		t.Errorf("version is %v: %v", version, err)
	}
}

func TestAClusterOutlivesTheEndOfItsAPIServer(t *testing.T) {
	t.Parallel()
	began := time.Now()
	c, err := Start(t.Context(), t.TempDir(), Options{Progress: os.Stderr, Audit: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v", time.Since(began))
	t.Cleanup(c.Stop)
	admin := kubernetes.NewForConfigOrDie(c.Config())
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}
	if _, err := admin.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}

	if err := c.PauseAPIServer(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := admin.CoreV1().Namespaces().Get(ctx, "kept", metav1.GetOptions{}); err == nil {
		t.Error("a paused server answers")
	}
	if err := c.ResumeAPIServer(); err != nil {
		t.Fatal(err)
	}
	c.KillAPIServer()
	if _, err := admin.CoreV1().Namespaces().Get(t.Context(), "kept", metav1.GetOptions{}); err == nil {
		t.Error("a killed server answers")
	}
	if err := c.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CoreV1().Namespaces().Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
		t.Errorf("the namespace is lost: %v", err)
	}
	events, err := os.ReadFile(c.AuditLog)
	if err != nil || !strings.Contains(string(events), `"name":"kept"`) {
		t.Errorf("the audit log does not tell of the namespace: %v", err)
	}
	began = time.Now()
	c.Stop()
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("stopping took %v", d)
	}
}
