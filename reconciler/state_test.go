package reconciler_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/kubetest"
	"millwright.dev/millwright/reconciler/report"
)

func TestAClockThatJumpsChangesNoDecisionAndNoSchedule(t *testing.T) { // rows K18, G23
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	key := client.ObjectKey{Namespace: p.namespace, Name: "factory"}
	year := 365 * 24 * time.Hour
	records := 1
	for _, jump := range []time.Duration{time.Hour, -time.Hour, year, -year, 0} {
		p.late = jump
		value := "at " + jump.String()
		p.setConfig(value)
		p.commit(alice, value)
		records++
		p.applied()
		p.edit("mallory-kubectl", "drifted")
		// First when the object that was put back has rested, then as ever.
		result, err := p.loop.Reconcile(t.Context(), reconcile.Request{NamespacedName: key})
		if err != nil || result.RequeueAfter <= 0 || result.RequeueAfter > 2*time.Second {
			t.Errorf("with the clock %v off a repair is looked at again after %v: %v", jump, result.RequeueAfter, err)
		}
		p.late += 3 * time.Second
		result, err = p.loop.Reconcile(t.Context(), reconcile.Request{NamespacedName: key})
		if err != nil || result.RequeueAfter <= 2*time.Second || result.RequeueAfter > time.Minute {
			t.Errorf("with the clock %v off it looks again after %v: %v", jump, result.RequeueAfter, err)
		}
		if p.value() != value {
			t.Errorf("with the clock %v off the cluster says %q", jump, p.value())
		}
		good := strings.TrimSpace(p.local("rev-parse", "HEAD"))
		p.setConfig("evil")
		p.commit(nobody, "evil")
		p.wantRefused(p.pass(), "sig/missing", value)
		p.local("reset", "-q", "--hard", good)
		p.restart()
	}
	p.auditIsClean(records)
}

// TestARendererThatPanicsIsOneFactorysProblem panics in the middle of rendering.
func TestARendererThatPanicsIsOneFactorysProblem(t *testing.T) { // row K22
	p, other := newPlant(t), newPlant(t)
	panics, armed := 0, false
	p.setup.Interrupt = func(point string) error {
		if armed && point == reconciler.PointRendering {
			panics++
			panic("a renderer that fails")
		}
		return nil
	}
	p.restart()
	p.commit(alice, "good")
	p.applied()
	p.setConfig("two")
	commit := p.commit(alice, "two")
	armed = true
	p.edit("mallory-kubectl", "drifted")
	f := p.pass()
	c := conditionOf(f, v1alpha1.ConditionPolicyPassed)
	if panics == 0 || c.Status != metav1.ConditionUnknown || c.Reason != report.ReasonRenderUnknown || !strings.Contains(c.Message, "a renderer that fails") {
		t.Errorf("after %d panics: %+v", panics, c)
	}
	if p.value() != "one" {
		t.Errorf("drift from the last good revision is not put back: %q", p.value())
	}
	// The same process goes on with another Factory.
	armed = false
	other.commit(alice, "good")
	other.createSame(p)
	other.pass()
	armed = true
	p.pass()
	armed = false
	if p.applied(); p.value() != "two" {
		t.Errorf("the cluster says %q", p.value())
	}
	if f = p.pass(); f.Status.Applied.Commit != commit {
		t.Errorf("applied: %+v", f.Status.Applied)
	}
	p.auditIsClean(2)
}

// createSame lets a plant be worked on by the process of another one.
func (p *plant) createSame(as *plant) { p.loop, p.setup.Key = as.loop, as.setup.Key }

// TestEveryFileOfTheDataDirectoryMayBeTorn spoils one file after the other
// between two processes.
func TestEveryFileOfTheDataDirectoryMayBeTorn(t *testing.T) { // row K13
	p := newPlant(t)
	p.setup.FrontierKey, p.setup.Build = []byte(strings.Repeat("k", 32)), "test"
	p.restart()
	p.commit(alice, "good")
	p.applied()
	var files []string
	p.must(filepath.WalkDir(p.setup.DataDir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	}))
	if len(files) < 5 {
		t.Fatalf("there are only %v", files)
	}
	spoils := []func([]byte) []byte{
		func([]byte) []byte { return nil },
		func(b []byte) []byte { return b[:len(b)/2] },
		func(b []byte) []byte { return make([]byte, len(b)) },
		func([]byte) []byte { return []byte("garbage\n\xff\xfe") },
	}
	records := 1
	for i, file := range files {
		relative, _ := filepath.Rel(p.setup.DataDir, file)
		t.Run("K13 "+relative, func(t *testing.T) {
			p.t = t
			defer func() { p.t = nil }()
			data, err := os.ReadFile(file)
			if os.IsNotExist(err) {
				return // an earlier repair replaced it
			}
			p.must(err)
			p.must(os.Chmod(file, 0o600))
			p.must(os.WriteFile(file, spoils[i%len(spoils)](data), 0o600))
			p.restart()
			value := "after " + relative
			p.setConfig(value)
			commit := p.commit(alice, value)
			records++
			var f *v1alpha1.Factory
			for range 4 {
				if f = p.pass(); f.Status.Applied != nil && f.Status.Applied.Commit == commit {
					break
				}
			}
			if p.value() != value {
				t.Fatalf("the cluster says %q: %+v", p.value(), f.Status.Conditions)
			}
			p.auditIsClean(records)
		})
		p.t = t
	}
}

// TestAnotherClusterAtTheSameAddressGetsNothing turns the proxy to a cluster
// that has the same Factory.
func TestAnotherClusterAtTheSameAddressGetsNothing(t *testing.T) { // row G19
	f := newFaulty(t)
	f.setMany("one")
	f.settle(f.commit(alice, "one"))
	second, err := kubetest.Start(t.Context(), t.TempDir(), kubetest.Options{})
	f.must(err)
	t.Cleanup(second.Stop)
	there := &plant{t: t, cluster: second, namespace: f.namespace, git: f.git, anchor: f.anchor}
	there.connect()
	f.must(f.proxy.Turn(second.Config()))
	f.setMany("two")
	commit := f.commit(alice, "two")
	for _, when := range []string{"at once", "after a restart"} {
		// A pass of the same process finds out before its first write.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := f.loop.Reconcile(ctx, reconcile.Request{NamespacedName: client.ObjectKey{Namespace: f.namespace, Name: "factory"}})
		cancel()
		f.must(err)
		var now v1alpha1.Factory
		f.must(there.client.Get(t.Context(), client.ObjectKey{Namespace: f.namespace, Name: "factory"}, &now))
		if c := conditionOf(&now, v1alpha1.ConditionApplied); c.Status != metav1.ConditionFalse || c.Reason != report.ReasonClusterReplaced {
			t.Errorf("%s: Applied: %+v", when, c)
		}
		var made corev1.ConfigMapList
		f.must(there.client.List(t.Context(), &made, client.InNamespace(f.namespace+"-work")))
		if len(made.Items) != 0 {
			t.Errorf("%s: %d objects were made in the other cluster", when, len(made.Items))
		}
		f.restart()
	}
	f.must(f.proxy.Turn(f.cluster.Config()))
	f.restart()
	f.settle(commit)
	f.auditIsClean(2)
	// Whoever means the other one says so.
	f.must(f.proxy.Turn(second.Config()))
	f.must(os.Remove(filepath.Join(f.setup.DataDir, f.namespace, "factory", "cluster")))
	f.restart()
	_, err = f.loop.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Namespace: f.namespace, Name: "factory"}})
	f.must(err)
	var made corev1.ConfigMapList
	f.must(there.client.List(t.Context(), &made, client.InNamespace(f.namespace+"-work")))
	if len(made.Items) == 0 {
		t.Error("the other cluster, acknowledged, gets nothing")
	}
}

// TestARestoreOfEtcdIsNoticedAndTheClusterBroughtBack takes the cluster back
// behind a revision that was applied and attested.
func TestARestoreOfEtcdIsNoticedAndTheClusterBroughtBack(t *testing.T) { // row G18
	cluster, err := kubetest.Start(t.Context(), t.TempDir(), kubetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	p := newPlantAt(t, cluster, "")
	p.commit(alice, "good")
	p.applied()
	back, err := cluster.Keep(t.Context())
	p.must(err)
	p.setConfig("two")
	p.commit(alice, "two")
	p.applied()
	lost := p.records()[1]
	p.must(back(t.Context()))
	if p.value() != "one" || len(p.records()) != 1 {
		t.Fatalf("nothing was restored: %q, %d records", p.value(), len(p.records()))
	}
	f := p.pass()
	if c := conditionOf(f, v1alpha1.ConditionAttested); c.Reason != report.ReasonChainBroken || !strings.Contains(c.Message, "record 2 was there and is gone") {
		t.Errorf("Attested: %+v", c)
	}
	if p.value() != "two" || len(p.records()) != 1 {
		t.Errorf("what was applied is not enforced: %q, %d records", p.value(), len(p.records()))
	}
	p.setConfig("three")
	p.commit(alice, "three")
	if p.pass(); p.value() != "two" {
		t.Errorf("a new revision was applied on a chain that lost a record: %q", p.value())
	}
	p.restart()
	if p.pass(); p.value() != "two" || len(p.records()) != 1 {
		t.Errorf("after a restart: %q, %d records", p.value(), len(p.records()))
	}
	// The record is not lost: the registry, an export, or as here somebody has it.
	lost.ResourceVersion, lost.UID = "", ""
	p.must(p.client.Create(t.Context(), &lost))
	if p.applied(); p.value() != "three" {
		t.Errorf("with the record back the cluster says %q", p.value())
	}
	p.auditIsClean(3)
}
