package reconciler_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/gitverify/tufroot"
	"millwright.dev/millwright/gitverify/tufroot/tuftest"
	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/report"
)

// followed is a plant whose trusted root comes from a TUF repository, on a
// clock of its own.
type followed struct {
	*plant
	repo   *tuftest.Repository
	client *tufroot.Client
	now    time.Time
}

const trustGrace = 24 * time.Hour

func follow(t *testing.T) *followed {
	t.Helper()
	f := &followed{plant: newPlant(t), now: time.Now().UTC()}
	data, err := os.ReadFile(f.sigstore.TrustedRootPath)
	f.must(err)
	f.repo, err = tuftest.Start(f.now, data)
	f.must(err)
	t.Cleanup(f.repo.Stop)
	clock := func() time.Time { return f.now }
	f.client, err = tufroot.New(tufroot.Options{
		URL: f.repo.URL(), Root: f.repo.InitialRoot(), Dir: filepath.Join(t.TempDir(), "trust"), Clock: clock,
	})
	f.must(err)
	f.setup.Trust = reconciler.TrustRepository(f.client, trustGrace, clock)
	f.restart()
	return f
}

// withheld fails unless the newest commit was not taken for want of a fresh
// trusted root.
func (f *followed) withheld(factory *v1alpha1.Factory, reason, good string) {
	f.t.Helper()
	c := conditionOf(factory, v1alpha1.ConditionSourceVerified)
	if c.Status == metav1.ConditionTrue || c.Reason != reason {
		f.t.Errorf("SourceVerified: %s %s %s, want %s", c.Status, c.Reason, c.Message, reason)
	}
	if factory.Status.Applied == nil || factory.Status.Applied.Commit != good {
		f.t.Errorf("applied: %+v, want %s", factory.Status.Applied, good)
	}
}

func TestRowB28AFrozenTrustedRootTakesNothingNewAndStillCorrectsDrift(t *testing.T) { // rows B28, J06
	f := follow(t)
	f.must(f.client.Refresh(t.Context()))
	f.setConfig("two")
	good := f.commit(alice, "two")
	f.applied()

	// Expired, within the grace: new revisions are taken.
	f.now = f.now.Add(tuftest.Lifetime + time.Hour)
	f.setConfig("three")
	good3 := f.commit(alice, "three")
	if got := f.applied().Status.Applied.Commit; got != good3 || got == good {
		t.Fatalf("within the grace %s is applied, want %s", got, good3)
	}

	// Past the grace: the next one is not, and drift is.
	f.now = f.now.Add(trustGrace)
	f.setConfig("four")
	newest := f.commit(alice, "four")
	frozen := f.pass()
	f.withheld(frozen, report.ReasonTrustedRootExpired, good3)
	if r := conditionOf(frozen, v1alpha1.ConditionReady); r.Status == metav1.ConditionTrue {
		t.Error("a factory that takes nothing new says that it is ready")
	}
	f.edit("mallory-kubectl", "drifted")
	f.withheld(f.pass(), report.ReasonTrustedRootExpired, good3)
	if now, _ := f.settings(); now != "three" {
		t.Errorf("with a frozen trusted root drift is not put back: %s", now)
	}

	// So is it after a restart, which has nothing but the expired cache. What was
	// put back a moment ago would rest.
	f.late += 5 * time.Minute
	f.restart()
	f.edit("mallory-kubectl", "drifted again")
	f.withheld(f.pass(), report.ReasonTrustedRootExpired, good3)
	if now, _ := f.settings(); now != "three" {
		t.Errorf("after a restart with a frozen trusted root drift is not put back: %s", now)
	}

	// The repository is back.
	f.repo.Now = f.now
	data, err := os.ReadFile(f.sigstore.TrustedRootPath)
	f.must(err)
	f.must(f.repo.Publish(tuftest.Change{Target: data}))
	f.must(f.client.Refresh(t.Context()))
	if got := f.applied().Status.Applied.Commit; got != newest {
		t.Errorf("with a fresh trusted root %s is applied, want %s", got, newest)
	}
	f.auditIsClean(3)
}

func TestATrustedRootThatNobodyFetchedYetTakesNothing(t *testing.T) {
	f := follow(t)
	f.setConfig("two")
	f.commit(alice, "two")
	factory := f.pass()
	c := conditionOf(factory, v1alpha1.ConditionReady)
	if c.Status == metav1.ConditionTrue || factory.Status.Applied != nil {
		t.Fatalf("without a trusted root: %+v", factory.Status)
	}
	if p := conditionOf(factory, v1alpha1.ConditionSourceVerified); !strings.Contains(p.Message, "fetched") {
		t.Errorf("SourceVerified: %+v", p)
	}
	f.must(f.client.Refresh(t.Context()))
	f.applied()
}

func TestANewTrustedRootIsUsedWithoutARestart(t *testing.T) {
	f := follow(t)
	f.must(f.client.Refresh(t.Context()))
	f.setConfig("two")
	good := f.commit(alice, "two")
	f.applied()
	// Everything that signed so far is taken out of the trusted root.
	virtual, err := sigstoretest.NewVirtual(f.now)
	f.must(err)
	other, err := virtual.TrustedRootJSON()
	f.must(err)
	f.must(f.repo.Publish(tuftest.Change{Target: other}))
	f.must(f.client.Refresh(t.Context()))
	f.setConfig("three")
	f.commit(alice, "three")
	factory := f.pass()
	if r := factory.Status.Refused; r == nil || r.Reason == report.ReasonTrustedRootExpired {
		t.Errorf("refused: %+v", r)
	}
	if factory.Status.Applied == nil || factory.Status.Applied.Commit != good {
		t.Errorf("applied: %+v, want %s", factory.Status.Applied, good)
	}
}
