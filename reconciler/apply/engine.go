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
// means no other request. Kinds whose objects somebody watched since they were
// recorded ([Heed].Untouched) are not listed, and of those whose declaration is
// another one nothing is asked before they are written. The LIST is consistent (no resourceVersion=0): a
// stale answer right after our own writes would look like drift (G15). Apply
// sends one server-side apply per change and reads metadata back.
//
// # Who owns what
//
// Objects are applied with one field manager per component
// (millwright/<component>@<namespace>/<factory>), and with
// [Options.AccountPrefix] as one service account per component, which may touch
// nothing but what it declares. A conflict with another
// manager is forced only on objects that were ours before; there it is drift.
// On any other object it is reported as FieldConflict with manager and field,
// and nothing is written.
//
// # How fast
//
// The number of requests under way follows the API server: it grows while
// answers come well, halves with 429, a server error or a slow answer, and there
// is no rate limit of our own. Retry-After holds back every request of the engine
// until then. The engine repeats requests itself, up to four times and with
// jitter, where that is safe; client-go's own repeating is switched off by taking
// the header away from it. What is refused with 429 until its deadline ends the
// pass: there is no point in asking for a thousand objects one by one.
//
// # What waits for what
//
// Batches are made one after the other; what is in one is made concurrently. A
// component that is behind health gates (plan.Rules) is set aside until they are
// open; nobody else waits for it but webhooks and deletions, which come last. One
// pass waits at gates for Options.GateSlice and the next one goes on waiting.
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
// object than the observed one (UID precondition), never strips a finalizer
// off an object that is being deleted,
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
	"k8s.io/utils/clock"

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
	// AccountPrefix and the name of a component make the service account, in
	// Namespace, as which the objects of that component are read and written. If it
	// is empty, the engine does that as itself. See package rights.
	AccountPrefix string
	// Concurrency is how many requests may be under way at most; how many are is
	// found out by how the API server answers. DefinitionConcurrency is that of
	// definitions, each of which costs it several hundred milliseconds.
	Concurrency, DefinitionConcurrency int
	// RequestTimeout bounds one request. It is above 30 s, the API server's cap
	// on all admission webhooks of one request together (H06).
	RequestTimeout time.Duration
	// GateTimeout bounds the wait for definitions and namespaces.
	GateTimeout time.Duration
	// GateSlice bounds how long one pass waits at the health gates of components.
	// What is left of their time is waited for in later passes, so that a new
	// commit does not have to wait for an old one to become healthy (H19).
	GateSlice time.Duration
}

func (o Options) withDefaults() Options {
	if o.Concurrency <= 0 {
		o.Concurrency = 16
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
	if o.GateSlice <= 0 {
		o.GateSlice = 2 * time.Second
	}
	return o
}

// Engine observes one cluster and applies one factory's plans to it. Its
// methods may be called concurrently, but passes over one factory should not
// overlap: the second would find its inventory records changed and give up.
type Engine struct {
	opts Options
	// cfg and http reach the API server as the engine itself, as do the clients:
	// they look at kinds and keep the records.
	cfg      *rest.Config
	http     *http.Client
	metadata metadata.Interface
	dynamic  dynamic.Interface
	rest     rest.Interface
	served   *served
	pacer    *pacer
	// clock is monotonic: it measures, and tells no time of day.
	clock func() time.Time

	mu sync.Mutex
	// accounts are the clients of the components, each made once.
	accounts map[string]clients
	// stored is what the inventory records hold, as far as this engine knows.
	stored map[string]map[render.ID]plan.Entry
	// seen is the same with newer versions of objects, where they were seen since.
	seen map[string]map[render.ID]plan.Entry
	// versions are those of the records that this engine read first or wrote last.
	versions map[string]string
	// rebuilt are the lists that an inventory was just rebuilt from: they need not be
	// read again to observe what is in them.
	rebuilt map[kindKey]listing
	// refreshed says that what is served was asked since then.
	refreshed bool
	// proven remembers comparisons that found nothing to change.
	proven map[render.ID]finding
	// established remembers definitions that were seen Established.
	established map[string]bool
	// waits are the health gates that are waited for.
	waits map[string]Wait

	// beforeWrite lets tests stop the engine dead between two writes.
	beforeWrite func(render.ID) error
}

// begin is the number of requests under way at first.
const begin = 8

// New returns an engine for the cluster behind cfg. Client-side rate limits
// are switched off: the API server's priority and fairness decides, and the
// engine has as many requests under way as that serves well.
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
		clock:       clock.RealClock{}.Now,
		waits:       map[string]Wait{},
		cfg:         cfg,
		http:        client,
		accounts:    map[string]clients{},
		stored:      map[string]map[render.ID]plan.Entry{},
		seen:        map[string]map[render.ID]plan.Entry{},
		versions:    map[string]string{},
		proven:      map[render.ID]finding{},
		established: map[string]bool{},
	}
	e.pacer = newPacer(client.Transport, min(e.opts.Concurrency, begin), e.opts.Concurrency, e.clock)
	client.Transport = e.pacer
	if err := e.connect(); err != nil {
		return nil, fmt.Errorf("preparing clients of the API server: %w", err)
	}
	return e, nil
}

func (e *Engine) connect() error {
	own, err := e.clientsOver(e.http)
	if err != nil {
		return err
	}
	e.metadata, e.dynamic = own.metadata, own.dynamic
	d, err := discovery.NewDiscoveryClientForConfigAndClient(e.cfg, e.http)
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
