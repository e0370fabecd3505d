package plan

import (
	"time"

	"millwright.dev/millwright/render"
)

// Meta is what was seen of a live object: enough to tell later whether it was
// touched, and nothing of its content.
type Meta struct {
	UID             string `json:"uid,omitempty"`
	ResourceVersion string `json:"resourceVersion,omitempty"`
	Generation      int64  `json:"generation,omitempty"`
	// Fingerprint covers generation, our managed fields, labels, annotations,
	// finalizers and owner references: equal fingerprints of a kind that counts generations mean
	// that only the status moved.
	Fingerprint string `json:"fingerprint,omitempty"`
}

// Untouched says whether live is still the object that m recorded, as far as
// anything declared goes.
func (m Meta) Untouched(live Meta) bool {
	if m.UID == "" || m.UID != live.UID {
		return false
	}
	if m.ResourceVersion == live.ResourceVersion {
		return true
	}
	// Kinds without generations (ConfigMap, Secret, RBAC, Service) have nothing
	// that tells a change of content from a change of somebody's bookkeeping.
	return live.Generation > 0 && m.Generation == live.Generation && m.Fingerprint == live.Fingerprint
}

// Difference is one field that is not as declared. It never holds values.
type Difference struct {
	// Path in the object, for example .spec.template.spec.containers[0].image.
	Path string `json:"path"`
	// Manager is the field manager that wrote it, Operation how (Apply or
	// Update), Time when; empty if the object does not tell.
	Manager   string     `json:"manager,omitempty"`
	Operation string     `json:"operation,omitempty"`
	Time      *time.Time `json:"time,omitempty"`
}

// State is what is known of a live object.
type State int

// The states. The zero value is the one nothing may be concluded from.
const (
	// Unknown: it could not be observed.
	Unknown State = iota
	// Absent: the API server says that it is not there.
	Absent
	// Present: it is there; nothing else was asked, since it is not declared.
	Present
	// InSync: it is as declared.
	InSync
	// Differs: applying would change it.
	Differs
	// Conflict: it was never ours and another manager owns declared fields.
	Conflict
	// Terminating: it is being deleted.
	Terminating
	// Rejected: the API server refuses the declared object.
	Rejected
	// Resting: it is not as it was recorded, and was put back so lately that it
	// is not looked at yet.
	Resting
	// Mutated: admission changes declared fields in the very request that applies
	// them, so that applying again would not put them right.
	Mutated
	// Immutable: a declared field cannot be changed in place.
	Immutable
)

// Reasons of remarks.
const (
	// ReasonUnstableAdmission: admission answers each write of the object with
	// something else, in fields that nobody declares.
	ReasonUnstableAdmission = "AdmissionUnstable"
	// ReasonExtraFields: another manager owns fields that are not declared.
	ReasonExtraFields = "ExtraFields"
)

// Remark is something about an object that changes no decision.
type Remark struct {
	Reason      string
	Differences []Difference
}

// Live is the observed state of one object.
type Live struct {
	State State
	Meta  Meta
	// Managed says that our field manager owns some of its fields.
	Managed bool
	// Differences of what is Absent are what is known of why it is gone.
	Differences []Difference
	// Extras are fields that others added and that have to go.
	Extras []Extra
	// Ignore are the fields that are not applied to the object once it is there.
	Ignore []string
	// Kept says that we keep fields that are ignored under a manager of their own.
	Kept bool
	// Remarks are what is worth telling of it although nothing has to be done.
	Remarks []Remark
	// Detail explains Unknown and Rejected.
	Detail string
	// Unseen says that nobody looked: it differs because the declaration is another,
	// and was watched since it was applied.
	Unseen bool
}

// Observation is the live state of declared ∪ inventory at one time.
type Observation struct {
	// Inventory is the stored one that the observation was made with.
	Inventory Inventory
	Live      map[render.ID]Live
}
