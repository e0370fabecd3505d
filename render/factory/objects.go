package factory

import (
	"strings"

	"millwright.dev/millwright/render"
)

// Selector names objects of a component by exact strings.
type Selector struct {
	// Group is empty for Kubernetes' core group. Kind is always given.
	Group, Kind string
	// Namespace and Name are empty for any.
	Namespace, Name string
}

// String spells a selector as an object is spelled, with * for any.
func (s Selector) String() string {
	id := render.ID{Group: s.Group, Kind: s.Kind, Namespace: s.Namespace, Name: s.Name}
	if id.Name == "" {
		id.Name = "*"
	}
	return id.String()
}

func (s Selector) matches(id render.ID) bool {
	return s.Group == id.Group && s.Kind == id.Kind &&
		(s.Namespace == "" || s.Namespace == id.Namespace) && (s.Name == "" || s.Name == id.Name)
}

// weight orders selectors of one kind: a name says more than a namespace.
func (s Selector) weight() int {
	w := 0
	if s.Namespace != "" {
		w++
	}
	if s.Name != "" {
		w += 2
	}
	return w
}

// Rule is what a component says about some of its objects. The zero Rule says
// nothing: they are treated as the component is.
type Rule struct {
	// Drift is empty for the mode of the component.
	Drift DriftMode
	// Ignore lists fields whose difference is no drift, spelled as a plan and
	// the status spell them; each stands for all that is below it.
	Ignore []string
	// Exact says that a field which is not declared is drift too.
	Exact bool
	// Force takes declared fields from another field manager that owns them.
	Force bool
	// Recreate permits to delete the object and make it anew where a declared
	// field cannot be changed in place.
	Recreate bool
}

// ObjectRule is an entry of a component's list of objects.
type ObjectRule struct {
	Selector
	Rule
}

// Rule finds what a component says about an object: the entry with the most
// specific selector, alone. Nothing is merged from entries that match less.
func (c Component) Rule(id render.ID) Rule {
	best, found := Rule{}, -1
	for _, o := range c.Objects {
		if w := o.weight(); w > found && o.matches(id) {
			best, found = o.Rule, w
		}
	}
	return best
}

// Ignores says whether a rule ignores the difference at a path.
func (r Rule) Ignores(path string) bool {
	for _, field := range r.Ignore {
		if covers(field, path) {
			return true
		}
	}
	return false
}

// covers says whether a field is the one at a path or holds it.
func covers(field, path string) bool {
	rest, below := strings.CutPrefix(path, field)
	return below && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
