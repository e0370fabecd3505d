package reconciler_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/report"
)

func (p *plant) recollection() string {
	return filepath.Join(p.setup.DataDir, p.namespace, "factory", "recollection")
}

// TestAFightIsNotForgottenByARestart goes on with a fight in a new process, and
// begins anew where what the old one wrote is gone or altered.
func TestAFightIsNotForgottenByARestart(t *testing.T) { // rows F06, K13, K24
	p := newPlant(t)
	p.setup.FrontierKey = []byte("a secret of thirty-two bytes or so")
	p.restart()
	p.commit(alice, "good")
	p.applied()
	if _, err := os.Stat(p.recollection()); !os.IsNotExist(err) {
		t.Errorf("without anything to remember there is a file: %v", err)
	}
	for fought := 0; fought < 4; p.late += 500 * time.Millisecond {
		if now, _ := p.settings(); now == "one" {
			p.edit("rival-controller", "theirs")
			fought++
		}
		p.pass()
	}
	whole, err := os.ReadFile(p.recollection())
	p.must(err)
	if bytes.Contains(whole, []byte("theirs")) {
		t.Error("a value is in the file")
	}

	p.restart()
	f := p.pass()
	if now, _ := p.settings(); now != "theirs" || f.Status.Drift.OpenTotal != 1 || f.Status.Drift.Open[0].Reason != plan.ReasonFight {
		t.Errorf("after a restart the cluster says %q, open drift: %+v", now, f.Status.Drift.Open)
	}
	for name, spoil := range map[string]func(){
		"gone": func() { p.must(os.Remove(p.recollection())) },
		"altered": func() {
			p.must(os.WriteFile(p.recollection(), bytes.Replace(whole, []byte(`"Count":`), []byte(`"Count":1`), 1), 0o600))
		},
		"torn": func() { p.must(os.WriteFile(p.recollection(), whole[:len(whole)/2], 0o600)) },
		"of a later version": func() {
			p.must(os.WriteFile(p.recollection(), bytes.Replace(whole, []byte("recollection 1"), []byte("recollection 2"), 1), 0o600))
		},
		"of a clock that was wrong": func() {
			p.must(os.WriteFile(p.recollection(), whole, 0o600))
			p.late -= time.Hour
		},
	} {
		late := p.late
		p.edit("rival-controller", "theirs")
		spoil()
		p.restart()
		p.pass()
		if now, _ := p.settings(); now != "one" {
			t.Errorf("%s: the cluster says %q, which was to be put back at once", name, now)
		}
		p.late = late
	}
}

func TestAHealthGateHasNotMoreTimeAfterARestart(t *testing.T) { // row H19
	p := newPlant(t)
	p.setConfig("two")
	p.write("factory-config/factory.yaml", strings.Replace(gate("object.status.ready == true"), "wait: 1h", "wait: 8s", 1))
	p.commit(alice, "a gate that never opens")
	f := p.pass()
	if c := conditionOf(f, v1alpha1.ConditionApplied); c.Status != metav1.ConditionFalse || c.Reason != report.ReasonHealthGateClosed {
		t.Fatalf("Applied: %+v", c)
	}
	time.Sleep(8 * time.Second)
	p.restart()
	f = p.pass()
	if c := conditionOf(f, v1alpha1.ConditionApplied); c.Reason != report.ReasonHealthGateFailed || !strings.Contains(c.Message, "not healthy after 8s") {
		t.Errorf("Applied after the restart: %+v", c)
	}
}
