package reconciler_test

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/plan"
)

func TestAFightIsToldAndEndsWhenTheOtherSideStops(t *testing.T) { // row F06
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	repairs := 0
	for range 40 { // twenty seconds of the controller's clock
		if now, _ := p.settings(); now == "one" {
			p.edit("rival-controller", "theirs")
		}
		p.pass()
		if now, _ := p.settings(); now == "one" {
			repairs++
		}
		p.late += 500 * time.Millisecond
	}
	if repairs < 4 || repairs > 15 {
		t.Fatalf("%d repairs in at least twenty seconds of war", repairs)
	}
	f := p.pass()
	for condition, status := range map[string]metav1.ConditionStatus{
		v1alpha1.ConditionDrifted: metav1.ConditionTrue, v1alpha1.ConditionApplied: metav1.ConditionFalse, v1alpha1.ConditionReady: metav1.ConditionFalse,
	} {
		c := conditionOf(f, condition)
		if c.Status != status || c.Reason != plan.ReasonFight || !strings.Contains(c.Message, "rival-controller") {
			t.Errorf("%s: %+v", condition, c)
		}
	}
	if d := f.Status.Drift; d.OpenTotal != 1 || d.Open[0].Manager != "rival-controller" || d.Open[0].Paths[0] != ".data.key" || d.Open[0].Next == nil || d.Open[0].Changed == nil {
		t.Errorf("open drift: %+v", d.Open)
	}
	told := 0
	for len(p.events.Events) > 0 {
		if strings.Contains(<-p.events.Events, plan.ReasonFight) {
			told++
		}
	}
	if told != 1 {
		t.Errorf("the fight was told %d times", told)
	}
	// They stop: it is put back when the rest is over, and two minutes later it is history.
	for range 3 {
		p.late += 130 * time.Second
		f = p.pass()
	}
	if now, _ := p.settings(); now != "one" || conditionOf(f, v1alpha1.ConditionDrifted).Type != "" || conditionOf(f, v1alpha1.ConditionReady).Status != metav1.ConditionTrue || f.Status.Drift.OpenTotal != 0 {
		t.Errorf("after the fight the cluster says %q: %+v", now, f.Status.Conditions)
	}
	p.auditIsClean(1)
}
