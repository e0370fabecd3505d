package reconciler

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/plan"
)

// defaultSweep is the interval of sweeps where the Factory says none.
const defaultSweep = 10 * time.Minute

// sweepDue says whether everything has to be looked at again, whatever the
// watches told since the last sweep.
func (p *pass) sweepDue() bool {
	interval := p.factory.Spec.Drift.SweepInterval.Duration
	if interval <= 0 {
		interval = defaultSweep
	}
	return p.plant.swept.IsZero() || !p.plant.setup.Clock().Before(p.plant.swept.Add(interval))
}

// swept takes note of a sweep that came to its end. Status tells of it no more
// often than sweeps are due: a pass that only looked is no news.
func (p *pass) swept(observation plan.Observation) {
	p.plant.swept = p.plant.setup.Clock()
	// To the second, as it is stored: two processes that start within one have no news.
	s := v1alpha1.Sweep{Time: metav1.NewTime(p.plant.swept.Truncate(time.Second)), Objects: int32(len(observation.Live))} //nolint:gosec // render bounds the number
	for _, live := range observation.Live {
		if live.State == plan.Unknown {
			s.Unobserved++
		}
	}
	p.out.Swept = &s
}
