package plan

import (
	"encoding/json"
	"fmt"
	"slices"

	"millwright.dev/millwright/render"
)

// Compute decides. The error is a [*Refusal] (no) or says that the manifests
// cannot be read.
func Compute(m render.Manifests, obs Observation, limits Limits) (Plan, error) {
	b := builder{
		obs:    obs,
		rules:  limits.Rules,
		stages: map[string]int{},
		plan:   Plan{manifests: m.Digest(), before: obs.Inventory, intent: obs.Inventory.clone(), restore: len(obs.Inventory.Rebuilt) > 0},
	}
	for _, c := range m.Components() {
		b.stages[c.Name] = c.Stage
	}
	objects := m.Objects()
	declared := make(map[render.ID]bool, len(objects))
	for i := range objects {
		declared[objects[i].ID()] = true
		b.declare(&objects[i])
	}
	b.plan.declared = len(objects)
	for _, id := range obs.Inventory.IDs() {
		if !declared[id] {
			b.undeclared(id, obs.Inventory.Entries[id])
		}
	}
	if err := limits.check(b.prunes, b.recreations(), len(obs.Inventory.Entries)); err != nil {
		return Plan{}, err
	}
	if err := b.needs(); err != nil {
		return Plan{}, err
	}
	b.behindGates(objects)
	b.plan.changes = append(b.plan.changes, b.prunes...)
	slices.SortFunc(b.plan.changes, comparePosition)
	return b.plan, nil
}

type builder struct {
	obs    Observation
	rules  Rules
	stages map[string]int
	plan   Plan
	prunes []Change
}

// declare decides about one declared object.
func (b *builder) declare(o *render.Object) {
	live, entry, known := b.look(o.ID())
	for _, r := range live.Remarks {
		b.plan.remarks = append(b.plan.remarks, Blocked{ID: o.ID(), Component: o.Component(), Reason: r.Reason, Differences: r.Differences})
	}
	switch live.State {
	case InSync:
		b.inSync(o, live, entry)
	case Mutated:
		b.inSync(o, live, entry)
		b.block(o.ID(), o.Component(), ReasonMutated, live)
	case Absent:
		gone := Live{Ignore: live.Ignore}
		if drifted(o, entry) {
			gone.Differences = append([]Difference{{Path: "."}}, live.Differences...)
		}
		b.write(o, Create, gone, entry, false)
	case Differs:
		op := Update
		if drifted(o, entry) {
			op = Correct
		}
		b.write(o, op, live, entry, known && (!entry.Pending || live.Managed))
	case Conflict, Immutable:
		b.opposed(o, live, entry)
	case Terminating:
		b.block(o.ID(), o.Component(), ReasonTerminating, live)
	case Rejected:
		b.block(o.ID(), o.Component(), ReasonInvalid, live)
	case Resting:
		b.block(o.ID(), o.Component(), ReasonPutOff, live)
	case Unknown, Present:
		b.block(o.ID(), o.Component(), ReasonUnobserved, live)
	}
}

// opposed decides about an object whose declared fields somebody else owns, or
// cannot be changed in place.
func (b *builder) opposed(o *render.Object, live Live, entry Entry) {
	switch {
	case live.State == Conflict && b.rules.force(o.Component(), o.ID()):
		b.write(o, Update, live, entry, true)
	case live.State == Conflict:
		b.block(o.ID(), o.Component(), ReasonFieldConflict, live)
	case live.Managed && b.rules.recreate(o.Component(), o.ID()):
		// Only what is ours is deleted: another's object is not made anew.
		b.write(o, Recreate, live, entry, true)
	default:
		b.block(o.ID(), o.Component(), ReasonImmutableField, live)
	}
}

// drifted says that the object was applied as it is declared now, so that
// whatever is not so is somebody else's doing.
func drifted(o *render.Object, entry Entry) bool {
	return !entry.Pending && entry.Declared == o.Digest() && entry.Component == o.Component() &&
		entry.APIVersion == o.APIVersion()
}

func (b *builder) look(id render.ID) (Live, Entry, bool) {
	entry, known := b.obs.Inventory.Entries[id]
	return b.obs.Live[id], entry, known
}

// inSync takes note of what was seen. If the stored entry does not name this
// very object as complete (a crash between the last write and the last record,
// a rebuilt record), the record has to be written although nothing changes.
func (b *builder) inSync(o *render.Object, live Live, stored Entry) {
	seen := Entry{Component: o.Component(), APIVersion: o.APIVersion(), Declared: o.Digest(), Meta: live.Meta}
	seen.Mutated, seen.Ignored = live.State == Mutated, IgnoreDigest(live.Ignore)
	b.plan.intent.Entries[o.ID()] = seen
	// What changes by itself is no reason to write, unless nothing of it is known.
	known := stored.UID == seen.UID && stored.ResourceVersion != ""
	if stored.Meta = seen.Meta; stored != seen || !known {
		b.plan.restore = true
	}
}

func (b *builder) write(o *render.Object, op Op, live Live, entry Entry, owned bool) {
	phase, rank := position(o.ID())
	if op == Recreate && phase == phaseComponents {
		rank = rankRecreate // after all else of its stage is in the cluster
	}
	c := Change{
		ID: o.ID(), Op: op, Component: o.Component(), Stage: b.stages[o.Component()], APIVersion: o.APIVersion(),
		Declared: o, Live: live.Meta, Owned: owned, Drift: drifted(o, entry), Differences: live.Differences,
		Remove: live.Extras, Ignore: live.Ignore, Kept: live.Kept, Detail: live.Detail, Unseen: live.Unseen, phase: phase, rank: rank,
	}
	switch entry.Component {
	case o.Component():
		// The entry finds it again, whatever happens to the write.
	case "":
		b.plan.intent.Entries[o.ID()] = Entry{
			Component: o.Component(), APIVersion: o.APIVersion(), Declared: o.Digest(), Pending: true,
		}
	default:
		// It moves from another component and stays ours all the while.
		c.Previous = entry.Component
		entry.Component, entry.Declared = o.Component(), ""
		b.plan.intent.Entries[o.ID()] = entry
	}
	b.plan.changes = append(b.plan.changes, c)
}

func (b *builder) block(id render.ID, component, reason string, live Live) {
	b.plan.blocked = append(b.plan.blocked, Blocked{
		ID: id, Component: component, Stage: b.stages[component], Reason: reason, Detail: live.Detail,
		Differences: live.Differences,
	})
}

// undeclared decides about an object that was ours and is not declared any
// more. It is pruned only if it is beyond doubt that it is still ours: its
// record alone may have been edited by somebody (F08).
func (b *builder) undeclared(id render.ID, entry Entry) {
	live := b.obs.Live[id]
	switch live.State {
	case Absent:
		delete(b.plan.intent.Entries, id)
		return
	case Unknown, Conflict, Rejected, Resting, Mutated, Immutable:
		b.block(id, entry.Component, ReasonUnobserved, live)
		return
	case Terminating:
		b.block(id, entry.Component, ReasonTerminating, live)
		return
	case Present, InSync, Differs:
	}
	sameObject := entry.UID == live.Meta.UID
	switch {
	case !live.Managed && !sameObject:
		// Somebody else's object under the same name, or one that an
		// interrupted write never made.
		delete(b.plan.intent.Entries, id)
	case !live.Managed:
		b.block(id, entry.Component, ReasonNotOurs, live)
	case slices.Contains(b.obs.Inventory.Rebuilt, entry.Component):
		b.block(id, entry.Component, ReasonInventoryRebuilt, live)
	default:
		b.prune(id, entry, live)
	}
}

func (b *builder) prune(id render.ID, entry Entry, live Live) {
	stage, known := b.stages[entry.Component]
	if !known {
		stage = len(b.stages) // a component that left the factory goes first
	}
	_, rank := position(id)
	b.prunes = append(b.prunes, Change{
		ID: id, Op: Prune, Component: entry.Component, Stage: stage, APIVersion: entry.APIVersion,
		Live: live.Meta, Owned: true, phase: phasePrune, rank: rank,
	})
}

// needs links every change to the changed definitions and namespaces that it
// depends on, so that one that fails stops its dependents and nobody else.
func (b *builder) needs() error {
	definitions := map[[2]string]render.ID{}
	namespaces := map[string]render.ID{}
	for _, c := range b.plan.changes {
		switch {
		case IsNamespace(c.ID):
			namespaces[c.ID.Name] = c.ID
		case IsDefinition(c.ID):
			group, kind, err := defines(*c.Declared)
			if err != nil {
				return err
			}
			definitions[[2]string{group, kind}] = c.ID
		}
	}
	for i := range b.plan.changes {
		c := &b.plan.changes[i]
		if id, ok := namespaces[c.ID.Namespace]; ok && c.ID.Namespace != "" {
			c.Needs = append(c.Needs, id)
		}
		if id, ok := definitions[[2]string{c.ID.Group, c.ID.Kind}]; ok {
			c.Needs = append(c.Needs, id)
		}
	}
	return nil
}

func defines(o render.Object) (group, kind string, err error) {
	var crd struct {
		Spec struct {
			Group string `json:"group"`
			Names struct {
				Kind string `json:"kind"`
			} `json:"names"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(o.JSON(), &crd); err != nil {
		return "", "", fmt.Errorf("reading definition %s: %w", o.ID().Name, err)
	}
	return crd.Spec.Group, crd.Spec.Names.Kind, nil
}
