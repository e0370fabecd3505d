package reconciler

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/report"
)

// errOtherCluster is an API server that stands for another cluster than the one
// that was written to before: a definite no (row G19). What one cluster may get
// was decided looking at its records; another one has others, or none.
var errOtherCluster = errors.New("this is another cluster than before")

// clusterUID is the identity of the cluster that answers now.
func (p *plant) clusterUID(ctx context.Context) (string, error) {
	var ns corev1.Namespace
	if err := p.setup.Reader.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &ns); err != nil {
		return "", fmt.Errorf("asking the API server which cluster this is: %w", err)
	}
	return string(ns.UID), nil
}

// pinFile holds the identity of the cluster that this data directory was used
// with. Whoever means another one deletes it.
func (p *plant) pinFile() string {
	return filepath.Join(p.setup.DataDir, p.key.Namespace, p.key.Name, "cluster")
}

// pin compares the cluster with the pinned one, and pins the first. A file that
// is torn, or cannot be written, pins nothing: it is a guard against accidents,
// and must not be one.
func (p *plant) pin(uid string) error {
	data, err := os.ReadFile(p.pinFile())
	if pinned := strings.TrimSpace(string(data)); err == nil && len(pinned) == len(uid) && !strings.Contains(pinned, "\x00") {
		if pinned != uid {
			return fmt.Errorf("%w: %s was written to, %s answers; if that is meant, delete %s of the data directory", errOtherCluster, pinned, uid,
				filepath.Join(p.key.Namespace, p.key.Name, "cluster"))
		}
		return nil
	}
	temporary := p.pinFile() + ".new"
	if err := os.WriteFile(temporary, []byte(uid+"\n"), 0o600); err == nil {
		_ = os.Rename(temporary, p.pinFile())
	}
	return nil
}

// stillThere asks before a revision or a repair is begun, which is seldom,
// whether it is still the cluster that was observed. Between two passes an
// address may have come to stand for another one.
func (p *pass) stillThere(ctx context.Context) error {
	uid, err := p.plant.clusterUID(ctx)
	if err == nil && uid != p.plant.cluster.uid {
		err = fmt.Errorf("%w: %s was written to, %s answers", errOtherCluster, p.plant.cluster.uid, uid)
	}
	if err != nil {
		return at(v1alpha1.ConditionApplied, clusterReason(err), err)
	}
	return nil
}

// where asks whether it is still the same cluster while that is observed, if the pass
// will most likely write, and otherwise when it is called. An answer of before counts
// for a second.
func (p *pass) where(ctx context.Context, revision accepted) func() error {
	if p.attested(revision) && !p.hurt() {
		return func() error { return p.stillThere(ctx) }
	}
	asked := p.plant.setup.Clock()
	wait := beside(func() (struct{}, error) { return struct{}{}, p.stillThere(ctx) })
	return func() error {
		_, err := wait()
		if p.plant.setup.Clock().Sub(asked) > time.Second {
			return p.stillThere(ctx)
		}
		return err
	}
}

func clusterReason(err error) string {
	if errors.Is(err, errOtherCluster) {
		return report.ReasonClusterReplaced
	}
	return report.ReasonClusterUnreachable
}
