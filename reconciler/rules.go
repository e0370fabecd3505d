package reconciler

import (
	"cmp"
	"slices"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/apply"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/factory"
)

// rule is what factory.yaml of a revision says about one object, the mode of
// its component filled in.
func (a rendered) rule(component string, id render.ID) factory.Rule {
	c, ok := a.config.Component(component)
	if !ok {
		// A component that left the factory says nothing; what is left of it is pruned.
		return factory.Rule{Drift: factory.DriftCorrect}
	}
	r := c.Rule(id)
	r.Drift = cmp.Or(r.Drift, c.Drift)
	return r
}

// leavesDrift says whether drift of an object is reported instead of corrected.
func (a accepted) leavesDrift(component string, id render.ID) bool {
	return a.rule(component, id).Drift != factory.DriftCorrect
}

// Recreates says whether an object may be deleted and made anew where a declared
// field cannot be changed in place.
func (a rendered) Recreates(component string, id render.ID) bool {
	return a.rule(component, id).Recreate
}

func (a accepted) ignores(component string, id render.ID) []string {
	return a.rule(component, id).Ignore
}

// exact says whether fields that are not declared are drift of an object too:
// always for what guards the cluster, elsewhere where a rule says so.
func (a accepted) exact(component string, id render.ID) bool {
	return plan.Protected(id) || a.rule(component, id).Exact
}

// leave takes drift that is not put back now out of a change set, because a
// mode says so or because it was put back a moment ago: it is reported, and
// keeps no revision from being applied. So is what admission makes of an object,
// but that keeps a revision from being called applied.
func (p *pass) leave(revision accepted, todo plan.Plan, changes apply.ChangeSet) apply.ChangeSet {
	for _, r := range changes.Results {
		switch mode := revision.rule(r.Component, r.ID).Drift; {
		case r.Reason == plan.ReasonMutated:
			p.open(plan.ReasonMutated, r.Component, r.ID, r.Differences)
		case r.Reason == plan.ReasonDriftLeft && mode == factory.DriftAlert:
			p.open(report.ReasonDriftReported, r.Component, r.ID, r.Differences)
		}
	}
	for _, r := range todo.Remarks() {
		p.open(r.Reason, r.Component, r.ID, r.Differences)
	}
	changes.Results = slices.DeleteFunc(slices.Clone(changes.Results), func(r apply.Result) bool {
		return slices.Contains([]string{plan.ReasonDriftLeft, plan.ReasonPutOff, plan.ReasonFight}, r.Reason)
	})
	return changes
}

func (p *pass) open(reason, component string, id render.ID, differences []plan.Difference) {
	p.out.Open = append(p.out.Open, v1alpha1.OpenDrift{
		DriftRecord: driftRecord(id, component, differences, p.out.Now), Reason: reason,
	})
}
