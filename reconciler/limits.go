package reconciler

import (
	"fmt"
	"strings"

	"millwright.dev/millwright/reconciler/apply"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/factory"
	"millwright.dev/millwright/render/health"
)

// limits bound a plan by what the Factory permits and by what factory.yaml of
// the revision says about components and single objects.
func (p *pass) limits(revision accepted) plan.Limits {
	spec := p.factory.Spec.Prune
	return plan.Limits{
		MaxPrune: int(spec.MaxObjects), MaxPrunePercent: int(spec.MaxPercent), AllowProtected: spec.AllowProtected,
		Rules: revision.rules(),
	}
}

func (a accepted) rules() plan.Rules {
	out := plan.Rules{
		Force:    func(c string, id render.ID) bool { return a.rule(c, id).Force },
		Recreate: a.Recreates,
		Gates:    map[string]plan.Gated{}, After: map[string][]string{},
	}
	unobserved := ""
	if a.environment.Health.Mode == factory.HealthUnknown {
		unobserved = a.environment.Health.Reason
	}
	for _, c := range a.config.Components {
		out.After[c.Name] = c.DependsOn
		if c.Wait > 0 {
			out.Gates[c.Name] = plan.Gated{Within: c.Wait, Checks: c.Health, Unobserved: unobserved}
		}
	}
	return out
}

// judging is how the health of a revision is judged where it runs.
func (a accepted) judging() apply.Judging {
	out := apply.Judging{
		Mode: apply.HealthMode(a.environment.Health.Mode), Why: a.environment.Health.Reason,
		Checks: map[string][]health.Check{},
	}
	for _, c := range a.config.Components {
		out.Checks[c.Name] = c.Health
	}
	return out
}

// waived says which gates were opened without asking for the health of
// everything behind them.
func waived(gates []apply.GateResult) string {
	var names []string
	for _, g := range gates {
		if g.Waived > 0 && g.State == apply.GateOpen {
			names = append(names, fmt.Sprintf("%s (%d objects)", g.Component, g.Waived))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "; gates that were opened without it: " + strings.Join(names, ", ")
}
