// Package apply observes a cluster and carries out plans.
//
// An [Engine] does five things, each of which takes a value of the stage
// before and returns a new one:
//
//	inv, err := engine.LoadInventory(ctx, manifests)   // what is ours, as recorded
//	obs, err := engine.Observe(ctx, manifests, inv)    // what is there
//	p, err   := plan.Compute(manifests, obs, limits)   // what to do (pure)
//	set, err := engine.Apply(ctx, p)                   // do it
//	h, err   := engine.Health(ctx, manifests, mode)    // does it run
//
// # What it costs
//
// Observe asks for metadata only, one consistent LIST per kind, and dry-runs
// only objects whose declaration or live object is not as recorded; in sync
// means no other request. The LIST is consistent (no resourceVersion=0): a
// stale answer right after our own writes would look like drift (G15). Apply
// sends one server-side apply per change and reads metadata back.
//
// # Who owns what
//
// Objects are applied with one field manager per component
// (millwright/<component>@<namespace>/<factory>). A conflict with another
// manager is forced only on objects that were ours before; there it is drift.
// On any other object it is reported as FieldConflict with manager and field,
// and nothing is written.
//
// # What survives a crash
//
// Before the first write the inventory record of the component names every
// object that is about to be made. An object leaves it only when the API
// server says that it is gone. So a process that is killed at any point finds
// again everything that it made. Records that are lost or damaged are rebuilt
// from field managers, and nothing of that component is pruned in that pass.
//
// # What it refuses
//
// It never deletes after a failure in the same plan, never deletes another
// object than the observed one (UID precondition), never strips a finalizer,
// and never puts field values into errors or results. Errors returned by its
// methods mean "could not tell"; what is wrong with single objects is in the
// [ChangeSet].
package apply

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// Options say whose engine it is and bound what it does. Zero bounds mean the
// defaults.
type Options struct {
	// Factory names the factory; its inventory records are named after it.
	Factory string
	// Namespace is where the records are kept: the controller's own.
	Namespace string
	// Concurrency of requests; DefinitionConcurrency of definitions, each of
	// which costs the API server several hundred milliseconds.
	Concurrency, DefinitionConcurrency int
	// RequestTimeout bounds one request. It is above 30 s, the API server's cap
	// on all admission webhooks of one request together (H06).
	RequestTimeout time.Duration
	// GateTimeout bounds the wait for definitions and namespaces.
	GateTimeout time.Duration
}

func (o Options) withDefaults() Options {
	if o.Concurrency <= 0 {
		o.Concurrency = 8
	}
	if o.DefinitionConcurrency <= 0 {
		o.DefinitionConcurrency = 4
	}
	if o.RequestTimeout <= 0 {
		o.RequestTimeout = 45 * time.Second
	}
	if o.GateTimeout <= 0 {
		o.GateTimeout = 2 * time.Minute
	}
	return o
}

// Engine observes one cluster and applies one factory's plans to it. Its
// methods may be called concurrently, but passes over one factory should not
// overlap: the second would find its inventory records changed and give up.
type Engine struct {
	opts     Options
	metadata metadata.Interface
	dynamic  dynamic.Interface
	rest     rest.Interface
	served   *served

	mu sync.Mutex
	// stored is what the inventory records hold, as far as this engine knows.
	stored map[string]map[render.ID]plan.Entry
	// versions are those of the records that this engine read first or wrote last.
	versions map[string]string
	// proven remembers comparisons that found nothing to change.
	proven map[render.ID]finding
	// established remembers definitions that were seen Established.
	established map[string]bool

	// beforeWrite lets tests stop the engine dead between two writes.
	beforeWrite func(render.ID) error
}

// New returns an engine for the cluster behind cfg. Client-side rate limits
// are switched off: the API server's priority and fairness decides, and the
// engine bounds its own concurrency.
func New(cfg *rest.Config, opts Options) (*Engine, error) {
	if opts.Factory == "" || opts.Namespace == "" {
		return nil, errors.New("an engine needs the names of a factory and of the namespace for its inventory")
	}
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1
	cfg.WarningHandler = rest.NoWarnings{}
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("preparing the connection to the API server: %w", err)
	}
	e := &Engine{
		opts:        opts.withDefaults(),
		stored:      map[string]map[render.ID]plan.Entry{},
		versions:    map[string]string{},
		proven:      map[render.ID]finding{},
		established: map[string]bool{},
	}
	if err := e.connect(cfg, client); err != nil {
		return nil, fmt.Errorf("preparing clients of the API server: %w", err)
	}
	return e, nil
}

func (e *Engine) connect(cfg *rest.Config, client *http.Client) (err error) {
	if e.metadata, err = metadata.NewForConfigAndClient(metadata.ConfigFor(cfg), client); err != nil {
		return err
	}
	if e.dynamic, err = dynamic.NewForConfigAndClient(cfg, client); err != nil {
		return err
	}
	d, err := discovery.NewDiscoveryClientForConfigAndClient(cfg, client)
	if err != nil {
		return err
	}
	e.rest = d.RESTClient()
	e.served = &served{discovery: d, timeout: e.opts.RequestTimeout}
	return nil
}

// manager is the field manager of a component of this factory.
func (e *Engine) manager(component string) string {
	return plan.FieldManager(e.opts.Namespace+"/"+e.opts.Factory, component)
}
