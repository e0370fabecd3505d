// Package plan decides what to write to a cluster, and does nothing else.
//
// [Compute] compares the manifests of a verified revision with an
// [Observation] of the cluster and returns a [Plan]: the changes in the order
// in which they may be made, what keeps other objects from being decided, and
// the inventory that has to be durable before the first of them. An empty plan
// means in sync. Drift is a plan that should have been empty: first apply,
// drift detection, `millwright plan` and the status page all use this function.
//
// # Order
//
// Staging is global, not per component:
//
//  1. foundations: namespaces and CustomResourceDefinitions of all components,
//     then a gate that waits until they are Active and Established;
//  2. guards: native admission policies and their bindings;
//  3. the components by their stage, those of one stage together in the order
//     identity and access, configuration, services and workloads, custom
//     resources, and last what is deleted and made anew;
//  4. webhooks: webhook configurations and aggregated API services of all
//     components, last of the whole plan;
//  5. prune, in the reverse of all that.
//
// Webhooks are last of the plan and not only of their stage because a
// fail-closed webhook whose Pods do not run yet refuses the very objects that
// would make them run, and those of every later component (attack row H05).
// The same holds for definitions: a custom resource of one component may need
// the definition of another (H02). Kinds decide, never the order of files.
//
// A component may be a gate ([Rules]): changes of what depends on it wait until
// all of it is applied and healthy. That holds them back and nobody else.
//
// # What it refuses
//
// A plan never touches an object outside of declared ∪ inventory. It never
// prunes on doubt: not what could not be observed, not what does not carry our
// field manager any more, nothing of a component whose inventory was lost and
// rebuilt in this pass. More deletions than [Limits] allow refuse the plan as
// a whole with a [*Refusal]. Values of fields never enter a plan; differences
// name paths, managers and times only.
//
// The package is pure: no I/O, no clock, and no Kubernetes client, so that
// evidence and tools that work offline may use it.
package plan

import (
	"encoding/json"

	"millwright.dev/millwright/render"
)

// Op is what a change does.
type Op string

// The operations of a plan.
const (
	// Create makes an object that is not there.
	Create Op = "Create"
	// Update brings an object to what a new revision declares, or takes
	// ownership of an identical object that nobody disputes.
	Update Op = "Update"
	// Correct puts back what somebody else changed in an object whose
	// declaration did not change: drift.
	Correct Op = "Correct"
	// Recreate deletes an object of which a declared field cannot be changed, and
	// makes it anew, where the factory's configuration permits that.
	Recreate Op = "Recreate"
	// Prune deletes an object that left the declaration.
	Prune Op = "Prune"
)

// Change is one write.
type Change struct {
	ID         render.ID
	Op         Op
	Component  string
	Stage      int
	APIVersion string
	// Declared is the object to apply; nil for Prune.
	Declared *render.Object
	// Live is what was observed; zero for Create.
	Live Meta
	// Owned says that the object was ours before, so that a conflict on a
	// declared field is drift and may be forced.
	Owned bool
	// Drift says that the object was applied as it is declared now and that
	// somebody changed or (with Create) deleted it since.
	Drift bool
	// Previous is the component that the object moves from, if it does.
	Previous string
	// Differences are the fields that differ; paths, never values. The path of
	// an object that was deleted as a whole is a single dot.
	Differences []Difference
	// Remove are fields that others added and that have to go first; Ignore those
	// that are declared and not applied any more once the object is there. Kept
	// says that a manager of ours keeps such fields.
	Remove []Extra
	Ignore []string
	Kept   bool
	// Detail says why the fields that differ are not known, where they are not.
	Detail string
	// Unseen says that the object was not looked at before: if it cannot be written,
	// that has to be made up for.
	Unseen bool
	// Needs names the changed definitions and namespaces without which this
	// change cannot succeed.
	Needs []render.ID
	// Gates names the components that have to be healthy first.
	Gates []string

	phase, rank int
}

// Webhook says whether a change is one of those that come last of the plan:
// webhook configurations and aggregated API services.
func (c Change) Webhook() bool { return c.phase == phaseWebhooks }

// Reasons why an object is not decided.
const (
	// ReasonFieldConflict: another manager owns declared fields of an object
	// that was never ours.
	ReasonFieldConflict = "FieldConflict"
	// ReasonImmutableField: a declared field cannot be changed in place, and
	// nothing permits to make the object anew.
	ReasonImmutableField = "ImmutableField"
	// ReasonTerminating: the object is being deleted; it is made anew once gone.
	ReasonTerminating = "Terminating"
	// ReasonUnobserved: the live state could not be read.
	ReasonUnobserved = "Unobserved"
	// ReasonNotOurs: an inventoried object does not carry our field manager any
	// more, so it is not pruned.
	ReasonNotOurs = "NotOurs"
	// ReasonInventoryRebuilt: the inventory was rebuilt in this pass, in which
	// nothing is pruned.
	ReasonInventoryRebuilt = "InventoryRebuilt"
	// ReasonDriftLeft: somebody changed the object, and the drift mode of its
	// component says to report that and leave it.
	ReasonDriftLeft = "DriftLeft"
	// ReasonInvalid: the API server refuses the declared object.
	ReasonInvalid = "Invalid"
	// ReasonMutated: admission changes what is declared while it is applied.
	ReasonMutated = "AdmissionMutated"
	// ReasonPutOff: the object was put back a moment ago and is not written again
	// that soon.
	ReasonPutOff = "RepairPutOff"
	// ReasonFight: the object was put back again and again, and somebody keeps
	// changing it. It is put back ever more rarely until they stop.
	ReasonFight = "ResourceFight"
)

// Blocked is an object that the plan leaves alone, and why.
type Blocked struct {
	ID          render.ID
	Component   string
	Stage       int
	Reason      string
	Detail      string
	Differences []Difference
}

// Plan is an ordered list of changes. Only [Compute] makes one.
type Plan struct {
	manifests string
	changes   []Change
	blocked   []Blocked
	remarks   []Blocked
	before    Inventory
	intent    Inventory
	restore   bool
	declared  int
	gates     map[string]HealthGate
}

// Empty says that the cluster is in sync: nothing to write, nothing undecided,
// and the inventory says what is there.
func (p Plan) Empty() bool { return len(p.changes) == 0 && len(p.blocked) == 0 && !p.restore }

// Changes lists the changes in the order in which they are made.
func (p Plan) Changes() []Change { return append([]Change(nil), p.changes...) }

// Blocked lists what the plan leaves alone although it is not in sync.
func (p Plan) Blocked() []Blocked { return append([]Blocked(nil), p.blocked...) }

// Remarks lists what is worth telling of objects although nothing has to be
// done about it.
func (p Plan) Remarks() []Blocked { return append([]Blocked(nil), p.remarks...) }

// Inventory is what has to be durable before the first write: everything that
// was ours and everything that is about to be, the latter marked Pending.
// For an empty plan it is the inventory as it is, with what was seen just now.
func (p Plan) Inventory() Inventory { return p.intent.clone() }

// Before is the inventory as it was stored when the plan was made.
func (p Plan) Before() Inventory { return p.before }

// RestoreInventory says that the stored inventory is not what it should be
// (rebuilt, or interrupted before it was completed) even if no object changes.
func (p Plan) RestoreInventory() bool { return p.restore }

// Manifests is the digest of the manifests that the plan was computed from.
func (p Plan) Manifests() string { return p.manifests }

// Corrections lists the changes that put drift back.
func (p Plan) Corrections() []Change {
	var out []Change
	for _, c := range p.changes {
		if c.Drift {
			out = append(out, c)
		}
	}
	return out
}

// LeaveDrift returns the plan without the corrections of some objects, whose
// drift mode is to alert or off: their drift is reported as Blocked.
func (p Plan) LeaveDrift(of func(component string, id render.ID) bool) Plan {
	out := p
	out.changes, out.blocked = nil, append([]Blocked(nil), p.blocked...)
	for _, c := range p.changes {
		if !c.Drift || !of(c.Component, c.ID) {
			out.changes = append(out.changes, c)
			continue
		}
		out.blocked = append(out.blocked, Blocked{
			ID: c.ID, Component: c.Component, Reason: ReasonDriftLeft, Detail: "drift is reported and left", Differences: c.Differences,
		})
	}
	return out
}

type changeJSON struct {
	Object      string       `json:"object"`
	Op          Op           `json:"op"`
	Component   string       `json:"component"`
	Stage       int          `json:"stage"`
	Digest      string       `json:"digest,omitempty"`
	Drift       bool         `json:"drift,omitempty"`
	Gates       []string     `json:"gates,omitempty"`
	Differences []Difference `json:"differences,omitempty"`
}

type blockedJSON struct {
	Object      string       `json:"object"`
	Component   string       `json:"component"`
	Reason      string       `json:"reason"`
	Detail      string       `json:"detail,omitempty"`
	Differences []Difference `json:"differences,omitempty"`
}

// MarshalJSON writes the plan for people and programs; it holds digests and
// field paths, never the objects.
func (p Plan) MarshalJSON() ([]byte, error) {
	out := struct {
		Manifests        string        `json:"manifests"`
		Empty            bool          `json:"empty"`
		RestoreInventory bool          `json:"restoreInventory,omitempty"`
		Changes          []changeJSON  `json:"changes"`
		Blocked          []blockedJSON `json:"blocked,omitempty"`
	}{Manifests: p.manifests, Empty: p.Empty(), RestoreInventory: p.restore, Changes: []changeJSON{}}
	for _, c := range p.changes {
		j := changeJSON{Object: Name(c.ID), Op: c.Op, Component: c.Component, Stage: c.Stage, Drift: c.Drift, Gates: c.Gates, Differences: c.Differences}
		if c.Declared != nil {
			j.Digest = c.Declared.Digest()
		}
		out.Changes = append(out.Changes, j)
	}
	for _, b := range p.blocked {
		out.Blocked = append(out.Blocked, blockedJSON{Name(b.ID), b.Component, b.Reason, b.Detail, b.Differences})
	}
	return json.Marshal(out)
}
