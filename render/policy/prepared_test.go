package policy

import (
	"encoding/json"
	"errors"
	"testing"
	"time"
)

func waits(t *testing.T, r Runner) *prepared {
	t.Helper()
	p, err := r.prepare([]string{"told"}, some()[:1])
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAProcessThatWaitsIsHeldAndJudgedLikeAnyOther(t *testing.T) {
	t.Parallel()
	for fault, want := range map[string]bool{"": true, "panic": false, "drop-objects": false, "drop-policies": false, "other-policy": false, "twice": false, "garbage all is well": false} {
		judge := func(name string, p func(*testing.T, Runner) *prepared, more []json.RawMessage) {
			t.Run(name+", fault "+fault, func(t *testing.T) {
				t.Parallel()
				v, err := p(t, inject(t, fault)).test(t.Context(), more)
				if (err == nil) != want || err != nil && !errors.Is(err, ErrCouldNotTell) {
					t.Errorf("got %v", err)
				}
				if want && (v.Objects != 2 || len(v.Policies) != 1) {
					t.Errorf("the verdict is on %d objects and %d policies", v.Objects, len(v.Policies))
				}
			})
		}
		judge("told", waits, some()[1:])
		judge("blank", waitsBlank, some())
	}
}

func waitsBlank(t *testing.T, r Runner) *prepared {
	t.Helper()
	p, err := r.blank()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAProcessThatEndedWhileItWaitedIsBegunAnew(t *testing.T) {
	t.Parallel()
	r := inject(t, "")
	var tester Tester
	defer tester.Close()
	tester.Begin(r)
	first := tester.next
	first.child.end()
	tester.Begin(r)
	if tester.next == first || !tester.next.waits() {
		t.Error("it is still taken for one that waits")
	}
}

func TestAProcessThatWaitsHasADeadlineOnceItIsAsked(t *testing.T) {
	t.Parallel()
	r := inject(t, "hang "+t.TempDir()+"/mark")
	r.Timeout = 500 * time.Millisecond
	p := waits(t, r)
	time.Sleep(2 * r.Timeout) // waiting is no test, and has another one
	if _, err := p.test(t.Context(), nil); !errors.Is(err, ErrCouldNotTell) {
		t.Errorf("got %v", err)
	}
	<-p.child.ended
}

func TestAProcessThatIsNotNeededAnyMoreIsEnded(t *testing.T) {
	t.Parallel()
	p := waits(t, inject(t, ""))
	select {
	case <-p.child.ended:
		t.Fatal("it ended by itself")
	case <-time.After(100 * time.Millisecond):
	}
	p.close()
	<-p.child.ended
	p.close() // does nothing
}

// Its end costs time and nothing else.
func TestWhereTheProcessThatWaitedIsGoneANewOneIsAsked(t *testing.T) {
	t.Parallel()
	r := inject(t, "")
	object := func(name string) Manifest {
		raw := json.RawMessage(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `","namespace":"n"}}`)
		return Manifest{Digest: Digest(raw), JSON: func() []byte { return raw }}
	}
	var tester Tester
	defer tester.Close()
	if _, err := tester.Test(t.Context(), r, []Manifest{object("a")}); err != nil {
		t.Fatal(err)
	}
	tester.Ready(r)
	if tester.next == nil {
		t.Fatal("nothing waits")
	}
	tester.next.child.end()
	v, err := tester.Test(t.Context(), r, []Manifest{object("b")})
	if err != nil || v.Objects != 1 {
		t.Errorf("%d objects, %v", v.Objects, err)
	}
	if tester.next != nil {
		t.Error("what is gone is kept")
	}
}
