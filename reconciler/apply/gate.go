package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// gate waits until the definitions of a batch are Established and its
// namespaces Active. What does not get there fails, and its dependents with it;
// everything else goes on (H01).
func (r *run) gate(ctx context.Context, changes []plan.Change) error {
	waiting := map[render.ID]bool{}
	for _, c := range changes {
		if !r.failed[c.ID] {
			waiting[c.ID] = true
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, r.engine.opts.GateTimeout)
	defer cancel()
	for _, kind := range []struct{ path, group, kind string }{
		{"/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "apiextensions.k8s.io", "CustomResourceDefinition"},
		{"/api/v1/namespaces", "", "Namespace"},
	} {
		want := map[string]bool{}
		for id := range waiting {
			if id.Kind == kind.kind {
				want[id.Name] = true
			}
		}
		problems, err := r.engine.awaitAll(bounded, kind.path, want)
		if err != nil {
			return err
		}
		for name, problem := range problems {
			r.notUsable(render.ID{Group: kind.group, Kind: kind.kind, Name: name}, problem)
		}
	}
	return r.engine.served.refresh(ctx)
}

func (r *run) notUsable(id render.ID, problem string) {
	res := r.results[id]
	res.Action, res.Reason, res.Message, res.Retry = Failed, ReasonNotEstablished, clean(problem), true
	r.results[id] = res
	r.failed[id] = true
}

// awaitAll watches until everything wanted is usable, and says what is not. It
// watches rather than polls: the API server tells the moment it happens. The
// watch is read with a decoder of our own, since definitions are large and
// only their conditions matter.
func (e *Engine) awaitAll(ctx context.Context, path string, want map[string]bool) (map[string]string, error) {
	problems := map[string]string{}
	for name := range want {
		problems[name] = "no status yet"
	}
	for len(want) > 0 {
		err := e.watchOnce(ctx, path, want, problems)
		switch {
		case len(want) == 0:
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			return problems, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			if unreachable(err) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return nil, fmt.Errorf("waiting for %s: %w", path, err)
			}
			// A watch that ends is ordinary; begin another one.
			pause(ctx, pauseBetweenWatches)
		}
	}
	return problems, nil
}

func (e *Engine) watchOnce(ctx context.Context, path string, want map[string]bool, problems map[string]string) error {
	stream, err := e.rest.Get().AbsPath(path).Param("watch", "true").Stream(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	dec := json.NewDecoder(stream)
	for len(want) > 0 {
		var event usable
		if err := dec.Decode(&event); err != nil {
			return err
		}
		name := event.Object.Metadata.Name
		if !want[name] {
			continue
		}
		problem, final := event.problem()
		switch {
		case problem == "":
			delete(want, name)
			delete(problems, name)
			e.sawEstablished(event.Object.Metadata.UID)
		case final:
			delete(want, name)
			problems[name] = problem
		default:
			problems[name] = problem
		}
	}
	return nil
}

// usable is as much of a watch event as the gate needs.
type usable struct {
	Type   string `json:"type"`
	Object struct {
		Metadata struct {
			Name string `json:"name"`
			UID  string `json:"uid"`
		} `json:"metadata"`
		Status struct {
			Phase      string      `json:"phase"`
			Conditions []condition `json:"conditions"`
		} `json:"status"`
	} `json:"object"`
}

type condition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Message string `json:"message"`
}

// problem says why an object is not usable yet, and whether waiting is vain.
func (u usable) problem() (text string, final bool) {
	if u.Type == "DELETED" {
		return "deleted while waiting for it", true
	}
	if u.Object.Status.Phase == "Active" {
		return "", false
	}
	text = "not Established yet"
	for _, c := range u.Object.Status.Conditions {
		switch {
		case c.Type == "Established" && c.Status == "True":
			return "", false
		case c.Type == "NamesAccepted" && c.Status == "False":
			return "its names are not accepted: " + c.Message, true
		}
	}
	return text, false
}

func (e *Engine) sawEstablished(uid string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.established[uid] = true
}
