package reconciler

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	ctrlsource "sigs.k8s.io/controller-runtime/pkg/source"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/drift"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/render/policy"
)

// Setup is what the controller is started with. All fields but Token, Key and Cache,
// and one of TrustedRoot and Trust, are required.
type Setup struct {
	// Client writes; Reader reads past every cache. Cache, if there is one, follows
	// by watch, and saves a pass in which nothing happened its requests.
	Client client.Client
	Reader client.Reader
	Cache  client.Reader
	REST   *rest.Config
	// DataDir holds the object stores; losing it costs a clone.
	DataDir string
	// TrustedRoot is the path of a Sigstore trusted_root.json; Trust gives it
	// instead where it comes from somewhere else.
	TrustedRoot string
	Trust       TrustSource
	// Policy runs the policy process. Ahead starts one before it is needed, and keeps one
	// ready for the next commit.
	Policy policy.Runner
	Ahead  bool
	// Token gives the controller's identity token; Key is the key file.
	Token func(context.Context) (string, error)
	Key   *attest.Key
	// Plain are hosts, with their port if they have one, to which the token and
	// evidence may go in the clear.
	Plain []string
	// Public verifies records of factories that sign with a key where Key is
	// not at hand.
	Public crypto.PublicKey
	// Log is asked for log entries that signatures do not carry, where a policy
	// says so; nil: never.
	Log gitverify.LogLookup
	// FrontierKey, of at least 32 secret bytes, seals what was verified in
	// DataDir for the next process of the same Build; without it every process
	// verifies anew.
	FrontierKey []byte
	Build       string
	// Release is this program's version.
	Release string
	Clock   func() time.Time
	// Version asks the API server for its version.
	Version func(context.Context) (string, error)
	Events  events.EventRecorder
	Metrics *report.Metrics
	Watcher *drift.Watcher
	// Workers is how many Factories are worked on at once; 1 if zero.
	Workers int
	// Shard selects the Factories that are ours; nil: all.
	Shard labels.Selector
	// MayWrite says no once another process may be the leader; nil: there is no
	// other.
	MayWrite func() error
	// Interrupt is for tests alone.
	Interrupt Interrupt
}

// trustSource is where the trusted root comes from.
func (s *Setup) trustSource() TrustSource {
	if s.Trust != nil {
		return s.Trust
	}
	return TrustFile(s.TrustedRoot)
}

// public is the key that records must be signed with, or nil.
func (s *Setup) public() crypto.PublicKey {
	if s.Public == nil && s.Key != nil {
		return s.Key.Public()
	}
	return s.Public
}

func (s *Setup) validate() error {
	switch {
	case s.Client == nil, s.Reader == nil, s.REST == nil, s.Clock == nil, s.Version == nil, s.Events == nil, s.Metrics == nil, s.Watcher == nil:
		return errors.New("the controller's setup is incomplete")
	case s.DataDir == "":
		return errors.New("a data directory is required")
	case s.TrustedRoot == "" && s.Trust == nil:
		return errors.New("a trusted root is required")
	case s.Policy.Path == "":
		return errors.New("the path of the policy process is required")
	}
	return nil
}

// New returns a reconciler for all Factories that its client can see.
func New(setup *Setup) (*Reconciler, error) {
	if err := setup.validate(); err != nil {
		return nil, err
	}
	return &Reconciler{setup: setup, plants: map[types.NamespacedName]*plant{}}, nil
}

// Register adds the reconciler to a manager. Whatever arrives on wake (drift,
// a poke) enqueues the same key as a change of the Factory or the clock does:
// a pass never learns why it was woken.
func (r *Reconciler) Register(m manager.Manager, wake <-chan event.GenericEvent) error {
	err := builder.ControllerManagedBy(m).Named("factory").
		WithOptions(controller.Options{
			// The default would wait a quarter of an hour after a long outage.
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
			MaxConcurrentReconciles: max(r.setup.Workers, 1),
		}).
		For(&v1alpha1.Factory{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(ctrlsource.Channel(wake, &handler.EnqueueRequestForObject{})).
		Complete(r)
	if err != nil {
		return fmt.Errorf("registering the reconciler: %w", err)
	}
	return nil
}

// Wake makes the event that enqueues a factory.
func Wake(key types.NamespacedName) event.GenericEvent {
	return event.GenericEvent{Object: &v1alpha1.Factory{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}}
}
