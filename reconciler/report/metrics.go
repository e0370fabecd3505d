package report

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// Metrics are the Prometheus metrics of the loop.
type Metrics struct {
	passes   *prometheus.CounterVec
	refusals *prometheus.CounterVec
	drift    *prometheus.CounterVec
	open     *prometheus.GaugeVec
	lost     *prometheus.CounterVec
	managers managers
	stages   *prometheus.HistogramVec
	ready    *prometheus.GaugeVec
	objects  *prometheus.GaugeVec
	sequence *prometheus.GaugeVec
	age      *prometheus.GaugeVec
	trust    *prometheus.GaugeVec
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	factory := []string{"namespace", "factory"}
	with := func(more ...string) []string { return append(append([]string{}, factory...), more...) }
	m := &Metrics{
		passes:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millwright_passes_total", Help: "Passes of the pipeline by answer: yes, no, could-not-tell."}, with("answer")),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millwright_refusals_total", Help: "Passes whose tip was not accepted, by reason."}, with("reason")),
		drift:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millwright_drift_corrected_total", Help: "Objects that were put back, by who changed them."}, with("component", "kind", "manager")),
		open:     prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "millwright_drift_open", Help: "Objects that are not kept as they are declared, by reason."}, with("reason")),
		lost:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "millwright_data_lost_total", Help: "Definitions and namespaces that were deleted with all that they held, and put back."}, factory),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "millwright_stage_duration_seconds", Help: "Time spent in a stage of the pipeline.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}, with("stage")),
		ready:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "millwright_factory_ready", Help: "1 when the Factory is Ready."}, factory),
		objects:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "millwright_applied_objects", Help: "Objects of the applied revision."}, factory),
		sequence: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "millwright_applied_sequence", Help: "Sequence of the newest record."}, factory),
		age:      prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "millwright_source_age_seconds", Help: "Age of the newest proof that the source is current."}, factory),
	}
	// No series where the trusted root is a file: a file does not expire.
	m.trust = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "millwright_trusted_root_expiry_timestamp_seconds", Help: "When the metadata of the trusted root expires."}, nil)
	for _, c := range []prometheus.Collector{m.passes, m.refusals, m.drift, m.open, m.lost, m.stages, m.ready, m.objects, m.sequence, m.age, m.trust} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	return m, nil
}

// Forget drops the series of a Factory that is gone: it is not ready any more.
func (m *Metrics) Forget(key types.NamespacedName) {
	gone := prometheus.Labels{"namespace": key.Namespace, "factory": key.Name}
	for _, c := range []interface {
		DeletePartialMatch(labels prometheus.Labels) int
	}{
		m.passes, m.refusals, m.drift, m.open, m.lost, m.stages, m.ready, m.objects, m.sequence, m.age,
	} {
		c.DeletePartialMatch(gone)
	}
}

// drifts counts what was put back, and what is open.
func (m *Metrics) drifts(key types.NamespacedName, o Outcome) {
	for _, d := range o.Drifts {
		kind, _, _ := strings.Cut(d.Object, " ")
		m.drift.WithLabelValues(key.Namespace, key.Name, d.Component, kind, m.managers.label(d.Manager)).Inc()
	}
	if len(o.Lost) > 0 {
		m.lost.WithLabelValues(key.Namespace, key.Name).Add(float64(len(o.Lost)))
	}
	m.open.DeletePartialMatch(prometheus.Labels{"namespace": key.Namespace, "factory": key.Name})
	for _, d := range o.Open {
		m.open.WithLabelValues(key.Namespace, key.Name, d.Reason).Inc()
	}
}

// maxManagers bounds the label that anybody who may write to the cluster
// chooses: a new name for each write must not become a new series for each.
const maxManagers = 20

// managers are the first names that were seen; all others are counted as other.
type managers struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (m *managers) label(name string) string {
	if name == "" {
		return "unknown"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.seen[name] {
		if len(m.seen) >= maxManagers {
			return "other"
		}
		if m.seen == nil {
			m.seen = map[string]bool{}
		}
		m.seen[name] = true
	}
	return OneLine(name)
}

// TrustedRoot records until when the trusted root is good.
func (m *Metrics) TrustedRoot(expires time.Time) {
	m.trust.WithLabelValues().Set(float64(expires.Unix()))
}

// Stage records how long a stage took.
func (m *Metrics) Stage(key types.NamespacedName, stage string, took time.Duration) {
	m.stages.WithLabelValues(key.Namespace, key.Name, stage).Observe(took.Seconds())
}

// Outcome records a pass.
func (m *Metrics) Outcome(key types.NamespacedName, f *v1alpha1.Factory, o Outcome) {
	answer := "yes"
	for _, s := range []*StageProblem{o.Failed, o.Refused} {
		if s == nil {
			continue
		}
		answer = "could-not-tell"
		if s.Problem.Class == No {
			answer = "no"
		}
	}
	m.passes.WithLabelValues(key.Namespace, key.Name, answer).Inc()
	if o.Refused != nil && !o.Mended { // else it is what another pass said
		m.refusals.WithLabelValues(key.Namespace, key.Name, o.Refused.Problem.Reason).Inc()
	}
	m.drifts(key, o)
	ready := 0.0
	for _, c := range f.Status.Conditions {
		if c.Type == v1alpha1.ConditionReady && c.Status == "True" {
			ready = 1
		}
	}
	m.ready.WithLabelValues(key.Namespace, key.Name).Set(ready)
	if a := f.Status.Applied; a != nil {
		m.objects.WithLabelValues(key.Namespace, key.Name).Set(float64(a.Objects))
		m.sequence.WithLabelValues(key.Namespace, key.Name).Set(float64(a.Sequence))
	}
	if at := f.Status.Fresh; at != nil {
		m.age.WithLabelValues(key.Namespace, key.Name).Set(o.Now.Sub(at.Time).Seconds())
	}
}
