package plan

import (
	"maps"
	"slices"
	"time"

	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/health"
)

// Rules are what a factory's configuration says beyond its manifests. The zero
// value permits nothing and waits for nothing.
type Rules struct {
	// Force says for which objects declared fields may be taken from other
	// managers, Recreate which may be deleted and made anew where a field cannot
	// be changed in place. Nil means none.
	Force, Recreate func(component string, id render.ID) bool
	// Gates are the components that others wait for, by name.
	Gates map[string]Gated
	// After lists what each component depends on.
	After map[string][]string
}

// Gated is a component that is a gate: what depends on it is not applied before
// all of it is applied and healthy.
type Gated struct {
	// Within is how long it may take before the gate counts as failed.
	Within time.Duration
	// Checks judge its objects of custom kinds.
	Checks []health.Check
	// Unobserved is why health cannot be known in this environment, empty where
	// it can: then only what the API server itself knows is asked.
	Unobserved string
}

func (r Rules) force(c string, id render.ID) bool { return r.Force != nil && r.Force(c, id) }

func (r Rules) recreate(c string, id render.ID) bool {
	return r.Recreate != nil && r.Recreate(c, id) && !id.Irreplaceable()
}

// gatesOf lists the gates that a component is behind, through all that it
// depends on, sorted.
func (r Rules) gatesOf(component string) []string {
	var out []string
	seen := map[string]bool{component: true}
	next := slices.Clone(r.After[component])
	for len(next) > 0 {
		c := next[0]
		next = next[1:]
		if seen[c] {
			continue
		}
		seen[c] = true
		if _, gate := r.Gates[c]; gate {
			out = append(out, c)
		}
		next = append(next, r.After[c]...)
	}
	slices.Sort(out)
	return out
}

// HealthGate is what has to be healthy before some changes of a plan are made.
type HealthGate struct {
	Component string
	Gated
	// Objects are all that the component declares.
	Objects []render.Object
}

// HealthGates are the gates that changes of the plan are behind, by component.
// A plan without such changes asks nothing: gates cost only where they count.
func (p Plan) HealthGates() map[string]HealthGate {
	out := make(map[string]HealthGate, len(p.gates))
	maps.Copy(out, p.gates)
	return out
}

// behindGates links changes to the gates of what their component depends on.
// Foundations and native admission policies come before everything and wait for
// nothing; putting drift back restores what was let through before.
func (b *builder) behindGates(objects []render.Object) {
	of := map[string][]string{}
	for _, c := range b.plan.changes {
		if _, known := of[c.Component]; !known {
			of[c.Component] = b.rules.gatesOf(c.Component)
		}
	}
	b.plan.gates = map[string]HealthGate{}
	for i := range b.plan.changes {
		c := &b.plan.changes[i]
		if c.Op == Prune || c.Drift || c.phase != phaseComponents && c.phase != phaseWebhooks {
			continue
		}
		c.Gates = of[c.Component]
		for _, name := range c.Gates {
			b.plan.gates[name] = HealthGate{Component: name, Gated: b.rules.Gates[name]}
		}
	}
	for i := range objects {
		if g, gate := b.plan.gates[objects[i].Component()]; gate {
			g.Objects = append(g.Objects, objects[i])
			b.plan.gates[g.Component] = g
		}
	}
}

// recreations are the changes that delete an object to make it anew.
func (b *builder) recreations() []Change {
	var out []Change
	for _, c := range b.plan.changes {
		if c.Op == Recreate {
			out = append(out, c)
		}
	}
	return out
}
