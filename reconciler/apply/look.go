package apply

import (
	"context"
	"maps"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/render"
)

// maxSingle is up to how many objects are looked at one by one. A list of
// metadata costs the API server less than a few dozen of single requests.
const maxSingle = 48

// wanted is an object that has to be looked at, and the component that it is of.
type wanted struct {
	apiVersion, component string
	id                    render.ID
}

// look reads the metadata of objects: one by one, if others are settled because
// somebody watches them and these are few, and otherwise with lists of their kinds. A list has to be of
// this moment, for which the API server waits up to a tenth of a second if
// nothing of the kind has happened lately; one object is read at once. The listing of an object holds it if it is there.
func (w *observing) look(ctx context.Context, objects []wanted) (func(wanted) listing, error) {
	e := w.engine
	var err error
	if len(w.inv.Entries)+len(w.inv.Records) == 0 {
		if objects, err = e.reachable(ctx, objects); err != nil {
			return nil, err
		}
	}
	single, kinds := map[render.ID]listing{}, make([]kindKey, 0, len(objects))
	if len(w.obs.Live) == 0 || len(objects) > maxSingle {
		for _, o := range objects {
			kinds = append(kinds, e.keyOf(o.apiVersion, o.id))
		}
	} else {
		if single, kinds, err = w.lookSingly(ctx, objects); err != nil {
			return nil, err
		}
	}
	lists, err := e.lists(ctx, kinds)
	if err == nil {
		err = e.awaitFresh(ctx, lists, w.inv)
	}
	// What is in no list is not there.
	return func(o wanted) listing {
		if l, ok := single[o.id]; ok {
			return l
		}
		return lists[e.keyOf(o.apiVersion, o.id)]
	}, err
}

// lookSingly asks for each object by itself. Where the answer cannot be taken as
// it is, its kind has to be listed.
func (w *observing) lookSingly(ctx context.Context, objects []wanted) (single map[render.ID]listing, kinds []kindKey, err error) {
	single = map[render.ID]listing{}
	list := map[kindKey]bool{}
	var mu sync.Mutex
	var away error
	each(w.engine.opts.Concurrency, objects, func(o wanted) {
		l, sure := w.lookAt(ctx, o)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case sure:
			single[o.id] = l
		case unreachable(l.err):
			away = l.err
		default:
			list[w.engine.keyOf(o.apiVersion, o.id)] = true
		}
	})
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	return single, slices.Collect(maps.Keys(list)), away
}

// lookAt asks for one object. The answer is not sure where the API server may be
// behind what was recorded (G15): only a list says how old it is. It is not sure
// either where the kind is not known, which a list finds out about.
func (w *observing) lookAt(ctx context.Context, o wanted) (l listing, sure bool) {
	e := w.engine
	r, err := e.served.lookup(ctx, o.apiVersion, o.id.Kind)
	if err != nil {
		return listing{err: err}, false
	}
	client, err := e.metadataOf(o.component, r, o.id)
	if err != nil {
		return listing{err: err}, false
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	seen, err := client.Get(ctx, o.id.Name, metav1.GetOptions{})
	entry, known := w.inv.Entries[o.id]
	gone := w.heed.Gone != nil && w.heed.Gone(o.id)
	l = listing{resource: r, err: err, objects: map[render.ID]*metav1.PartialObjectMetadata{}}
	switch {
	case apierrors.IsNotFound(err):
		l.err = nil
		return l, !known || entry.Pending || gone // two say so
	case err != nil, older(seen.ResourceVersion, entry.ResourceVersion):
		return l, false
	}
	l.objects[o.id] = seen
	return l, true
}
