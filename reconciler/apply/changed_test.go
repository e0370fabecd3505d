package apply

import (
	"slices"
	"strings"
	"testing"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// seenChanged is what a watch says that saw some objects change and no others.
func seenChanged(names ...string) Heed {
	changed := func(id render.ID) bool { return slices.Contains(names, id.Name) }
	return Heed{Changed: changed, Untouched: func(id render.ID, _ plan.Entry) bool { return !changed(id) }}
}

// about are the questions about objects of a kind, without those of what may change
// them.
func about(asked []string, kind string) []string {
	return slices.DeleteFunc(asked, func(what string) bool { return !strings.Contains(what, "/namespaces/changed/"+kind) })
}

// listed says whether ConfigMaps were listed, beside those with the records.
func listed(asked []string) bool {
	return slices.ContainsFunc(asked, func(what string) bool {
		return strings.HasPrefix(what, "GET ") && strings.HasSuffix(what, "/configmaps") && !strings.Contains(what, "-system/")
	})
}

func TestWhatWasSeenToChangeIsComparedAtOnce(t *testing.T) {
	t.Parallel()
	s, asked := askedSite(t, "changed")
	s.namespace("changed")
	m := s.component(configMap("NAME", "a", "x"), configMap("NAME", "b", "x"))
	s.converge(m)
	s.edit(configMaps, "changed", "a", "rogue", map[string]any{"data": map[string]any{"key": "y"}})
	asked.take()
	p := s.planWith(m, seenChanged("a"))
	if changes := p.Changes(); len(changes) != 1 || changes[0].ID.Name != "a" || !changes[0].Drift || changes[0].Differences[0].Manager != "rogue" {
		t.Errorf("the plan is\n%s", p.Text())
	}
	want := []string{"DRY-RUN /api/v1/namespaces/changed/configmaps/a", "GET /api/v1/namespaces/changed/configmaps/a"}
	if got := about(asked.take(), "configmaps"); !slices.Equal(got, want) {
		t.Errorf("asked were %v, want %v", got, want)
	}

	// At rest it is not compared, and what nobody watched has to be looked at first.
	resting := seenChanged("a")
	resting.Resting = func(id render.ID, _ string) bool { return id.Name == "a" }
	if p := s.planWith(m, resting); len(p.Changes()) != 0 {
		t.Errorf("at rest the plan is\n%s", p.Text())
	}
	asked.take()
	if p := s.planWith(m, Heed{Sweep: true, Changed: resting.Changed}); len(p.Changes()) != 1 {
		t.Errorf("the plan of a sweep is\n%s", p.Text())
	}
	if got := asked.take(); !listed(got) {
		t.Errorf("a sweep asked %v", got)
	}
}

// One answer that an object is not there may come from an API server that is behind:
// its kind is listed, which says how old the answer is.
func TestWhatWasSeenToChangeAndIsNotThereIsLookedFor(t *testing.T) { // row G15
	t.Parallel()
	s, asked := askedSite(t, "changedgone")
	s.namespace("changedgone")
	m := s.component(configMap("NAME", "a", "x"), configMap("NAME", "b", "x"))
	s.converge(m)
	s.remove(configMaps, "changedgone", "a")
	asked.take()
	p := s.planWith(m, seenChanged("a"))
	if changes := p.Changes(); len(changes) != 1 || changes[0].ID.Name != "a" || changes[0].Op != plan.Create {
		t.Errorf("the plan is\n%s", p.Text())
	}
	if got := asked.take(); !listed(got) {
		t.Errorf("asked were %v", got)
	}
}

func TestWhatWasSeenToChangeAndIsBeingDeletedSaysWhatHoldsIt(t *testing.T) {
	t.Parallel()
	s := newSite(t, "changedheld")
	s.namespace("changedheld")
	m := s.component(configMap("NAME", "a", "x"), configMap("NAME", "b", "x"))
	s.converge(m)
	finalizers := func(names ...any) map[string]any {
		return map[string]any{"metadata": map[string]any{"finalizers": names}}
	}
	s.edit(configMaps, "changedheld", "a", "rogue", finalizers("example.com/held"))
	s.remove(configMaps, "changedheld", "a")
	defer s.edit(configMaps, "changedheld", "a", "rogue", finalizers())
	for name, heed := range map[string]Heed{"seen": seenChanged("a"), "looked at": {}} {
		blocked := s.planWith(m, heed).Blocked()
		if len(blocked) != 1 || !strings.Contains(blocked[0].Detail, "held by finalizers [example.com/held]") {
			t.Errorf("%s: blocked are %v", name, blocked)
		}
	}
}
