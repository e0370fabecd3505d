package reconciler

import (
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/render"
)

// explained adds to what is gone why it is, where the watches saw that (H15).
func (p *pass) explained(observation plan.Observation) plan.Observation {
	if p.plant.setup.Watcher == nil { // a preview has none
		return observation
	}
	for id, live := range observation.Live {
		if live.State != plan.Absent {
			continue
		}
		if why, known := p.plant.setup.Watcher.Cause(p.plant.key, id); known {
			live.Differences = append(live.Differences, why)
			observation.Live[id] = live
		}
	}
	return observation
}

// lost are the definitions and namespaces that are others than before, whoever
// made them anew: with the old ones went all that they held, which no manifest
// brings back (H03).
func lost(m render.Manifests, before, after plan.Inventory) []report.Loss {
	var out []report.Loss
	kinds := definedKinds(m)
	for _, id := range before.IDs() {
		if !plan.IsDefinition(id) && !plan.IsNamespace(id) {
			continue
		}
		was, now := before.Entries[id].UID, after.Entries[id].UID
		if was == "" || now == "" || was == now {
			continue
		}
		kind := kinds[id]
		held := func(o render.ID) bool {
			if plan.IsNamespace(id) {
				return o.Namespace == id.Name
			}
			return o.Group == kind.Group && o.Kind == kind.Kind
		}
		n := 0
		for o := range before.Entries {
			if held(o) {
				n++
			}
		}
		out = append(out, report.Loss{Object: plan.Name(id), Kind: kind.Kind, Declared: n})
	}
	return out
}

// definedKinds are the groups and kinds of the declared definitions.
func definedKinds(m render.Manifests) map[render.ID]render.ID {
	out := map[render.ID]render.ID{}
	for _, o := range m.Objects() {
		if !plan.IsDefinition(o.ID()) {
			continue
		}
		spec, _ := o.Unstructured().Object["spec"].(map[string]any)
		names, _ := spec["names"].(map[string]any)
		group, _ := spec["group"].(string)
		kind, _ := names["kind"].(string)
		out[o.ID()] = render.ID{Group: group, Kind: kind}
	}
	return out
}
