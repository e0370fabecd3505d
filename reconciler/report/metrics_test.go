package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// gathered is the sum of each metric's values over its series.
func gathered(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			out[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return out
}

// seriesOf are the values of one metric, by the values of its labels.
func seriesOf(t *testing.T, registry *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			values := make([]string, 0, len(m.GetLabel()))
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == name {
				out[strings.Join(values, " ")] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return out
}

func TestMetricsSayWhatAPassDid(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	metrics, err := NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	key, f := types.NamespacedName{Namespace: "a", Name: "b"}, &v1alpha1.Factory{}
	pass := func(o Outcome) {
		f.Status = Status(f, o)
		metrics.Outcome(key, f, o)
	}
	pass(changed(func(o *Outcome) { o.Drifts = []v1alpha1.DriftRecord{{Object: "x"}, {Object: "y"}} }))
	got := gathered(t, registry)
	for name, want := range map[string]float64{
		"millwright_factory_ready": 1, "millwright_applied_objects": 7, "millwright_applied_sequence": 1,
		"millwright_drift_corrected_total": 2, "millwright_passes_total": 1, "millwright_refusals_total": 0,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	pass(changed(func(o *Outcome) {
		o.Refused = &StageProblem{Condition: v1alpha1.ConditionSourceVerified, Problem: Problem{Class: No, Reason: "Unsigned"}}
		o.Trust = &Trust{Fresh: o.Now.Add(-90 * time.Second)}
	}))
	if got = gathered(t, registry); got["millwright_source_age_seconds"] != 90 {
		t.Errorf("the source is %v s old, want 90", got["millwright_source_age_seconds"])
	}
	if got = gathered(t, registry); got["millwright_factory_ready"] != 0 || got["millwright_refusals_total"] != 1 {
		t.Errorf("after a refusal: %v", got)
	}
	for i := range 50 {
		pass(changed(func(o *Outcome) {
			o.Drifts = []v1alpha1.DriftRecord{{Object: "ConfigMap a/b", Component: "app", Manager: fmt.Sprintf("mallory-%d", i)}}
			o.Open = []v1alpha1.OpenDrift{{Reason: "ResourceFight"}, {Reason: "ResourceFight"}}
		}))
	}
	series := seriesOf(t, registry, "millwright_drift_corrected_total")
	if series["app b ConfigMap mallory-3 a"] != 1 || series["app b ConfigMap other a"] != 50-maxManagers || len(series) > maxManagers+3 {
		t.Errorf("the series of 50 made-up managers: %v", series)
	}
	if open := seriesOf(t, registry, "millwright_drift_open"); len(open) != 1 || open["b a ResourceFight"] != 2 {
		t.Errorf("open drift: %v", open)
	}
	metrics.Forget(key)
	if got = gathered(t, registry); got["millwright_factory_ready"] != 0 || got["millwright_applied_objects"] != 0 || got["millwright_source_age_seconds"] != 0 {
		t.Errorf("a Factory that is gone left series: %v", got)
	}
}
