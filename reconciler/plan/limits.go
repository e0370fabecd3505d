package plan

import "fmt"

// Limits bound what one plan may do. The zero value allows no deletion, takes
// nothing over, and waits for nothing.
type Limits struct {
	// MaxPrune is the number of objects, MaxPrunePercent their share of the
	// inventory, rounded up so that a small factory can still drop one object.
	MaxPrune        int
	MaxPrunePercent int
	// AllowProtected permits deleting namespaces, definitions and volumes, which
	// takes everything in them along.
	AllowProtected bool
	// Rules are what the factory's configuration says about components and
	// single objects.
	Rules Rules
}

// DefaultLimits are in force where a Factory does not say otherwise.
func DefaultLimits() Limits { return Limits{MaxPrune: 25, MaxPrunePercent: 25} }

// ReasonPruneLimit is the reason of a plan that deletes more than allowed.
const ReasonPruneLimit = "PruneLimit"

// Refusal is a definite no: it stays until revision or limits change.
type Refusal struct {
	// Reason is the CamelCase condition reason.
	Reason string
	// Code is the finer stable code, for example "plan/prune-count".
	Code string
	// Object is the object in question, if it is one.
	Object string
	// Detail says what was found; Hint what would mend it.
	Detail, Hint string
}

func (r *Refusal) Error() string {
	return fmt.Sprintf("%s (%s): %s", r.Reason, r.Code, r.Detail)
}

// check counts what is deleted for good and what is deleted to be made anew.
func (l Limits) check(prunes, anew []Change, inventory int) error {
	deleted := len(prunes) + len(anew)
	if deleted == 0 {
		return nil
	}
	if deleted > l.MaxPrune {
		return &Refusal{
			Reason: ReasonPruneLimit, Code: "plan/prune-count",
			Detail: fmt.Sprintf("%d of %d objects would be deleted, at most %d may", deleted, inventory, l.MaxPrune),
			Hint:   "delete in several revisions, or raise spec.prune.maxObjects of the Factory",
		}
	}
	if allowed := (inventory*l.MaxPrunePercent + 99) / 100; deleted > allowed {
		return &Refusal{
			Reason: ReasonPruneLimit, Code: "plan/prune-share",
			Detail: fmt.Sprintf("%d of %d objects would be deleted, at most %d percent may", deleted, inventory, l.MaxPrunePercent),
			Hint:   "delete in several revisions, or raise spec.prune.maxPercent of the Factory",
		}
	}
	if l.AllowProtected {
		return nil
	}
	for _, c := range prunes {
		if c.ID.Irreplaceable() {
			return &Refusal{
				Reason: ReasonPruneLimit, Code: "plan/prune-protected", Object: Name(c.ID),
				Detail: Name(c.ID) + " would be deleted with everything in it",
				Hint:   "set spec.prune.allowProtected of the Factory, or keep declaring it",
			}
		}
	}
	return nil
}
