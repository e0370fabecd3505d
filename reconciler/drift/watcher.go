// Package drift notices that a cluster is not what was applied.
//
// A [Watcher] holds one metadata watch per kind in the inventories it is given
// and calls back when an object in an inventory is no longer the one that was
// recorded: deleted, being deleted, another UID, or touched in anything but
// its status. It does not say what is wrong and repairs nothing. The callback
// wakes the reconciler, which observes, plans and applies as ever; drift is a
// plan that should have been empty.
//
//	w, err := drift.New(cfg, drift.Options{Resolve: engine.GVR, Wake: enqueue})
//	go w.Start(ctx)
//	w.Hold(key, p.Inventory())       // before Apply: our own writes are no news
//	w.Track(key, changeSet.Inventory) // after: what was seen meanwhile is judged now
//
// Watches are not filtered by label: an object whose label somebody removed
// would leave the filter unseen (F02). They keep no copy of anything. A watch
// that breaks is begun again with a LIST, in which what happened in between is
// found (G13); events that are older than what was recorded are ignored (G14).
//
// Objects that were put back a moment ago are named with [Watcher.Rest]: what
// is seen of them wakes nobody until the next Track, so that a controller that
// keeps changing one does not keep the loop running (F06).
//
// What it refuses: to be the only defence. A sweep (Observe at the factory's
// interval) proves that the watches missed nothing.
package drift

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// Options wire a watcher.
type Options struct {
	// Resolve says where a kind is served.
	Resolve func(ctx context.Context, apiVersion, kind string) (schema.GroupVersionResource, error)
	// Wake is called, possibly several times and from several goroutines, when
	// an object of a factory no longer matches its record. It must not block.
	Wake func(factory types.NamespacedName, id render.ID)
	// Restarted, if set, is told about every watch that had to begin again.
	Restarted func(kind schema.GroupKind, why string)
	// Retry is the first pause after a failure; it doubles up to 30 s.
	Retry time.Duration
	// Silence is how long a watch may tell nothing before it is begun again.
	Silence time.Duration
}

// Watcher watches what is inventoried.
type Watcher struct {
	opts   Options
	client metadata.Interface

	mu        sync.Mutex
	ctx       context.Context //nolint:containedctx // the life of the watches, from Start
	factories map[types.NamespacedName]*factory
	watches   map[place]*kindWatch
	running   sync.WaitGroup
	// breaks counts the watches that ended otherwise than in order, and those that
	// are not needed any more.
	breaks uint64
}

// factory is what one factory has and what was seen of it that does not fit.
type factory struct {
	inv      plan.Inventory
	held     bool
	rests    map[render.ID]bool
	narrow   bool
	suspects map[render.ID]suspicion
	// moved are the objects of which a newer version than the recorded one was
	// seen, whatever is new in it.
	moved map[render.ID]string
	// causes are why objects went away, as far as that is known.
	causes map[render.ID]cause
}

// suspicion is the newest sighting of an object that does not fit, and whether
// the factory was woken for it. It is woken once for each: what it did not put
// right then (a finalizer that holds an object, a drift mode that only reports)
// must not keep it awake. What it was woken for before it came to Track was
// looked at.
type suspicion struct {
	sighting
	told, looked bool
}

// New returns a watcher that watches nothing yet.
func New(cfg *rest.Config, opts Options) (*Watcher, error) {
	if opts.Resolve == nil || opts.Wake == nil {
		return nil, errors.New("a drift watcher needs Resolve and Wake")
	}
	if opts.Retry <= 0 {
		opts.Retry = 500 * time.Millisecond
	}
	cfg = metadata.ConfigFor(cfg)
	cfg.QPS = -1
	if opts.Silence <= 0 {
		opts.Silence = silence
	}
	client, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("preparing the drift watcher: %w", err)
	}
	return &Watcher{
		opts: opts, client: client,
		factories: map[types.NamespacedName]*factory{},
		watches:   map[place]*kindWatch{},
	}, nil
}

// Start watches until the context ends, and returns when all watches have.
func (w *Watcher) Start(ctx context.Context) error {
	w.mu.Lock()
	if w.ctx != nil {
		w.mu.Unlock()
		return errors.New("the drift watcher was started twice")
	}
	w.ctx = ctx
	w.adjust() //nolint:contextcheck // it takes the context that was just kept
	w.mu.Unlock()
	<-ctx.Done()
	w.waitForWatches()
	return nil
}

// waitForWatches passes through the lock first: whoever holds it may still be
// beginning a watch; after that nobody does, since the context is done.
func (w *Watcher) waitForWatches() {
	w.mu.Lock()
	running := &w.running
	w.mu.Unlock()
	running.Wait()
}

// Narrow says that the factory's objects are watched in their namespaces only,
// and Secrets by their names: that is all the controller may see where components
// have accounts of their own. It costs a watch for each kind and namespace.
func (w *Watcher) Narrow(key types.NamespacedName, narrow bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.factory(key).narrow = narrow
	w.adjust()
}

// Hold says that the factory is about to write what intent says. Until Track,
// what is seen of it is kept and judged then, so that our own writes wake
// nobody and nobody else's are lost.
func (w *Watcher) Hold(key types.NamespacedName, intent plan.Inventory) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.factory(key)
	f.inv, f.held = intent, true
	w.adjust()
}

// Rest names the objects of which nothing is news until it is called again:
// the factory looks at them by itself when their rest is over.
func (w *Watcher) Rest(key types.NamespacedName, rests map[render.ID]bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.factory(key).rests = rests
}

// Track says what the factory has now. What was seen since and does not fit
// wakes it.
func (w *Watcher) Track(key types.NamespacedName, inv plan.Inventory) {
	w.mu.Lock()
	f := w.factory(key)
	f.inv, f.held = inv, false
	f.forgive()
	var woken []render.ID
	for id, s := range f.suspects {
		entry, ours := inv.Entries[id]
		if !ours || !s.news(entry) {
			delete(f.suspects, id)
			continue
		}
		if s.looked = s.told; !entry.Pending && !s.told && !f.rests[id] {
			s.told = true
			woken = append(woken, id)
		}
		f.suspects[id] = s
	}
	// Of what only its status is known to have moved, whoever calls this looks at
	// the health next.
	for id, version := range f.moved {
		if _, suspect := f.suspects[id]; !suspect || !newer(version, inv.Entries[id].ResourceVersion) {
			delete(f.moved, id)
		}
	}
	w.adjust()
	w.mu.Unlock()
	for _, id := range woken {
		w.opts.Wake(key, id)
	}
}

// Forget stops watching for a factory.
func (w *Watcher) Forget(key types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.factories, key)
	w.adjust()
}

// Synced says whether every watch has seen the present state at least once
// since it began or broke.
func (w *Watcher) Synced() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.watches {
		if !k.synced {
			return false
		}
	}
	return w.ctx != nil
}

// Current says that nothing can have happened to a factory's objects since
// [Watcher.Track] without being known: each of their kinds is watched, each
// watch has begun with a list and was not silent for too long, and not even the
// status of an object moved. Whoever gets a no has to look for himself.
func (w *Watcher) Current(key types.NamespacedName) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.factories[key]
	if w.ctx == nil || w.ctx.Err() != nil || f == nil || f.held || len(f.inv.Entries) == 0 ||
		len(f.suspects)+len(f.moved)+len(f.rests) > 0 {
		return false
	}
	for id, entry := range f.inv.Entries {
		k := w.watches[f.place(id)]
		if entry.Pending || k == nil || !k.synced {
			return false
		}
	}
	return true
}

// Untouched says of which objects of a factory nothing but their status can have
// changed since they were recorded as in an entry: their kind is watched, the watch
// has begun with a list and was not silent for too long, and it saw nothing else.
// Of all others it says no, and whoever gets that has to look for himself.
func (w *Watcher) Untouched(key types.NamespacedName) func(render.ID, plan.Entry) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.factories[key]
	if w.ctx == nil || w.ctx.Err() != nil || f == nil || f.held {
		return func(render.ID, plan.Entry) bool { return false }
	}
	known := make(map[render.ID]plan.Entry, len(f.inv.Entries))
	for id, entry := range f.inv.Entries {
		_, suspect := f.suspects[id]
		k := w.watches[f.place(id)]
		if !suspect && !f.rests[id] && !entry.Pending && k != nil && k.synced {
			known[id] = entry
		}
	}
	return func(id render.ID, entry plan.Entry) bool {
		recorded, ok := known[id]
		return ok && recorded == entry
	}
}

// Seen are the objects of a factory that were seen not to be as recorded since
// somebody looked at them, and whether they were seen to be gone. Those at rest are
// not among them.
func (w *Watcher) Seen(key types.NamespacedName) map[render.ID]bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.factories[key]
	if f == nil || f.held {
		return nil
	}
	out := map[render.ID]bool{}
	for id, s := range f.suspects {
		if !f.rests[id] && !s.looked {
			out[id] = s.gone
		}
	}
	return out
}

// newer says whether one resource version is after another; where that cannot
// be told it is.
func newer(a, b string) bool {
	if a == b {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err != nil || order > 0
}

// Watches counts the watches.
func (w *Watcher) Watches() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.watches)
}

func (w *Watcher) factory(key types.NamespacedName) *factory {
	f := w.factories[key]
	if f == nil {
		f = &factory{suspects: map[render.ID]suspicion{}, moved: map[render.ID]string{}, causes: map[render.ID]cause{}}
		w.factories[key] = f
	}
	return f
}

// adjust begins and ends watches so that every inventoried kind has one.
func (w *Watcher) adjust() {
	if w.ctx == nil || w.ctx.Err() != nil {
		return
	}
	want := map[place]string{}
	for _, f := range w.factories {
		for id, entry := range f.inv.Entries {
			// A kind that is only about to exist cannot be watched yet; its watch
			// begins with a LIST and misses nothing.
			if !entry.Pending {
				want[f.place(id)] = entry.APIVersion
			}
		}
	}
	for at, k := range w.watches {
		if _, ok := want[at]; !ok {
			k.stop()
			w.breaks++
			delete(w.watches, at)
		}
	}
	for at, version := range want {
		if w.watches[at] != nil {
			continue
		}
		ctx, stop := context.WithCancel(w.ctx)
		k := &kindWatch{watcher: w, place: at, apiVersion: version, stop: stop}
		w.watches[at] = k
		w.running.Go(func() { k.run(ctx) })
	}
}

// saw judges one sighting against every factory that has the object.
func (w *Watcher) saw(id render.ID, look func(factory types.NamespacedName, component string) sighting) {
	w.mu.Lock()
	var woken []types.NamespacedName
	for key, f := range w.factories {
		entry, ours := f.inv.Entries[id]
		if !ours {
			continue
		}
		s := look(key, entry.Component)
		if newer(s.meta.ResourceVersion, entry.ResourceVersion) {
			f.moved[id] = s.meta.ResourceVersion
		}
		if !s.news(entry) {
			continue
		}
		if old, seen := f.suspects[id]; seen && old.sighting == s {
			continue
		}
		tell := !f.held && !entry.Pending && !f.rests[id]
		f.suspects[id] = suspicion{sighting: s, told: tell}
		if tell {
			woken = append(woken, key)
		}
	}
	w.mu.Unlock()
	for _, key := range woken {
		w.opts.Wake(key, id)
	}
}

// tracked lists the objects that a watch has to see.
func (w *Watcher) tracked(at place) []render.ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []render.ID
	for _, f := range w.factories {
		for id, entry := range f.inv.Entries {
			if at.has(id) && !entry.Pending {
				out = append(out, id)
			}
		}
	}
	return out
}
