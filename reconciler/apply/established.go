package apply

import (
	"context"
	"encoding/json"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// definitions says which declared definitions are Established. What was seen
// once is not asked again.
func (e *Engine) definitions(ctx context.Context, objects []render.Object, j Judging) (map[string]ObjectHealth, error) {
	out := map[string]ObjectHealth{}
	missing := false
	for _, o := range objects {
		if !plan.IsDefinition(o.ID()) {
			continue
		}
		if e.isEstablished(o, j) {
			out[o.ID().Name] = ObjectHealth{Verdict: Ready}
			continue
		}
		out[o.ID().Name] = ObjectHealth{Verdict: InProgress, Message: "not there"}
		missing = true
	}
	if !missing {
		return out, nil
	}
	listed, err := e.listDefinitions(ctx)
	if err != nil {
		return nil, err
	}
	for _, u := range listed {
		name := u.Object.Metadata.Name
		if _, declared := out[name]; !declared {
			continue
		}
		problem, final := u.problem()
		switch {
		case problem == "":
			out[name] = ObjectHealth{Verdict: Ready}
			e.sawEstablished(u.Object.Metadata.UID)
		case final:
			out[name] = ObjectHealth{Verdict: Unhealthy, Message: clean(problem)}
		default:
			out[name] = ObjectHealth{Verdict: InProgress, Message: problem}
		}
	}
	return out, nil
}

// listDefinitions reads name and conditions of all definitions in one request.
// The schemas, which are megabytes, are skipped and not decoded.
func (e *Engine) listDefinitions(ctx context.Context) ([]usable, error) {
	ctx, cancel := context.WithTimeout(ctx, e.opts.RequestTimeout)
	defer cancel()
	stream, err := e.rest.Get().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.NewDecoder(stream).Decode(&list); err != nil {
		return nil, err
	}
	out := make([]usable, len(list.Items))
	for i, raw := range list.Items {
		if err := json.Unmarshal(raw, &out[i].Object); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// isEstablished remembers what was seen: a definition does not lose its names
// but by being deleted, and then its UID is another one.
func (e *Engine) isEstablished(o render.Object, j Judging) bool {
	uid := ""
	if j.uid != nil {
		uid = j.uid(o.ID())
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if uid == "" {
		uid = e.stored[o.Component()][o.ID()].UID
	}
	return uid != "" && e.established[uid]
}
