package apply

import (
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// Action is what became of one object.
type Action string

// The actions.
const (
	Created   Action = "created"
	Updated   Action = "updated"
	Corrected Action = "corrected"
	// Recreated: deleted, seen gone, and made anew, since a field could not be
	// changed in place.
	Recreated Action = "recreated"
	// Unchanged: the API server found nothing to change after all.
	Unchanged Action = "unchanged"
	// Pruned: deleted, and the API server says that it is gone.
	Pruned Action = "pruned"
	// Deleting: deletion was accepted but something holds the object; it stays
	// in the inventory until it is gone.
	Deleting Action = "deleting"
	// Waiting: left alone; Reason says for what.
	Waiting Action = "waiting"
	// Failed: see Reason and Message.
	Failed Action = "failed"
)

// Result is what became of one object. It holds no values of fields.
type Result struct {
	ID        render.ID `json:"id"`
	Component string    `json:"component"`
	Op        plan.Op   `json:"op,omitempty"`
	// Drift says that what was written puts back what somebody changed or deleted.
	Drift    bool      `json:"drift,omitempty"`
	Action   Action    `json:"action"`
	Declared string    `json:"declared,omitempty"`
	Live     plan.Meta `json:"live"`
	Reason   string    `json:"reason,omitempty"`
	Message  string    `json:"message,omitempty"`
	// Retry says that the same write may succeed later without a new revision.
	Retry       bool              `json:"retry,omitempty"`
	Differences []plan.Difference `json:"differences,omitempty"`
	// Unseen says that it was written without a look at it before.
	Unseen bool `json:"-"`
}

// ChangeSet is what one plan did.
type ChangeSet struct {
	// Results in the order of the plan, then what it left alone.
	Results []Result
	// Inventory as it was stored after the last write.
	Inventory plan.Inventory
	// Gates are the health gates that were looked at, by component.
	Gates []GateResult
}

// Complete says that everything that was planned is done and nothing was left
// alone: the cluster is as declared.
func (s ChangeSet) Complete() bool {
	for _, r := range s.Results {
		if r.Action == Failed || r.Action == Waiting || r.Action == Deleting {
			return false
		}
	}
	return true
}

// Failed lists the objects that failed.
func (s ChangeSet) Failed() []Result { return s.with(Failed) }

// Corrected lists the objects that were put back, deleted ones among them.
func (s ChangeSet) Corrected() []Result {
	var out []Result
	for _, r := range s.Results {
		if r.Drift && (r.Action == Corrected || r.Action == Created || r.Action == Recreated) {
			out = append(out, r)
		}
	}
	return out
}

// Count says how many objects each action happened to.
func (s ChangeSet) Count() map[Action]int {
	out := map[Action]int{}
	for _, r := range s.Results {
		out[r.Action]++
	}
	return out
}

func (s ChangeSet) with(a Action) []Result {
	var out []Result
	for _, r := range s.Results {
		if r.Action == a {
			out = append(out, r)
		}
	}
	return out
}
