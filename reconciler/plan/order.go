package plan

import (
	"cmp"
	"strings"

	"millwright.dev/millwright/render"
)

// The phases of a plan; see the package comment.
const (
	phaseFoundations = iota
	phaseGuards
	phaseComponents
	phaseWebhooks
	phasePrune
)

// Ranks inside a component.
const (
	rankIdentity = iota
	rankConfiguration
	rankWorkload
	rankCustom
	rankRecreate
)

const (
	groupCRD       = "apiextensions.k8s.io"
	groupAdmission = "admissionregistration.k8s.io"
	groupRBAC      = "rbac.authorization.k8s.io"
)

// IsDefinition says whether an ID names a CustomResourceDefinition.
func IsDefinition(id render.ID) bool {
	return id.Group == groupCRD && id.Kind == "CustomResourceDefinition"
}

// IsNamespace says whether an ID names a Namespace.
func IsNamespace(id render.ID) bool { return id.Group == "" && id.Kind == "Namespace" }

// position gives phase and rank of a kind.
func position(id render.ID) (phase, rank int) {
	switch {
	case IsDefinition(id), IsNamespace(id):
		return phaseFoundations, 0
	case id.Group == groupAdmission && strings.HasSuffix(id.Kind, "WebhookConfiguration"),
		id.Group == "apiregistration.k8s.io":
		return phaseWebhooks, 0
	case id.Group == groupAdmission && strings.HasSuffix(id.Kind, "Binding"):
		// Who binds a policy that has parameters has to be allowed to read them; which
		// these are, the API server looks up in the policy.
		return phaseGuards, 1
	case id.Group == groupAdmission:
		return phaseGuards, 0
	}
	return phaseComponents, kindRank(id)
}

// kindRank orders the kinds inside a component: who may, what they read, what
// runs, and last what only the running things understand.
func kindRank(id render.ID) int {
	switch id.Group {
	case groupRBAC:
		// Who binds a role has to hold its rules, which the API server looks up: it
		// has to be there before.
		if strings.HasSuffix(id.Kind, "Binding") {
			return rankConfiguration
		}
		return rankIdentity
	case "":
		switch id.Kind {
		case "ServiceAccount":
			return rankIdentity
		case "Service", "Pod", "ReplicationController":
			return rankWorkload
		}
		return rankConfiguration
	case "scheduling.k8s.io", "storage.k8s.io", "node.k8s.io", "coordination.k8s.io":
		return rankConfiguration
	}
	if builtIn(id.Group) {
		return rankWorkload
	}
	return rankCustom
}

// builtIn says whether a group is served without a definition: Kubernetes' own
// groups have no dot or end in .k8s.io, of which definitions by others need an
// approval annotation and exist in few cases.
func builtIn(group string) bool {
	return !strings.Contains(group, ".") || strings.HasSuffix(group, ".k8s.io")
}

func comparePosition(a, b Change) int {
	if c := cmp.Compare(a.phase, b.phase); c != 0 {
		return c
	}
	// What nothing orders stands together: the same rank of all components of a
	// stage is one batch.
	// All policies come before the first of their bindings.
	if a.phase == phaseGuards && a.rank != b.rank {
		return cmp.Compare(a.rank, b.rank)
	}
	forward := cmp.Or(cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.rank, b.rank),
		strings.Compare(a.Component, b.Component), compareID(a.ID, b.ID))
	if a.phase != phasePrune {
		return forward
	}
	pa, ra := position(a.ID)
	pb, rb := position(b.ID)
	return cmp.Or(cmp.Compare(pb, pa), cmp.Compare(b.Stage, a.Stage), strings.Compare(b.Component, a.Component),
		cmp.Compare(rb, ra), compareID(b.ID, a.ID))
}

// Gate is what is waited for after a batch. Beside it stand the gates of single
// components, see [HealthGate].
type Gate string

// The gates.
const (
	// GateNone: go on at once.
	GateNone Gate = ""
	// GateFoundations: definitions Established, namespaces Active.
	GateFoundations Gate = "Foundations"
)

// Batch is a group of changes that may be made concurrently, and the gate
// that the next batch waits for.
type Batch struct {
	Name    string
	Changes []Change
	Gate    Gate
	// Prune says that the batch deletes; it is skipped if anything before failed.
	Prune bool
	// Stage is that of its changes. Recreate says that they delete objects to make
	// them anew: skipped if anything of the stage failed.
	Stage    int
	Recreate bool
	// Last says that webhooks are in it: nothing that could still be applied may
	// be left for after it.
	Last bool
}

// Batches cuts the plan where order matters.
func (p Plan) Batches() []Batch {
	var out []Batch
	for i, c := range p.changes {
		if i == 0 || !sameBatch(p.changes[i-1], c) {
			out = append(out, Batch{
				Name: batchName(c), Prune: c.Op == Prune, Gate: gateOf(c), Stage: c.Stage,
				Recreate: c.Op == Recreate, Last: c.phase == phaseWebhooks,
			})
		}
		last := &out[len(out)-1]
		last.Changes = append(last.Changes, c)
	}
	for i := range out {
		out[i].Name = componentsOf(out[i].Changes) + out[i].Name
	}
	return out
}

// componentsOf names the components of a batch where it is about components.
func componentsOf(changes []Change) string {
	if changes[0].phase != phaseComponents {
		return ""
	}
	var names []string
	for _, c := range changes {
		if len(names) == 0 || names[len(names)-1] != c.Component {
			names = append(names, c.Component)
		}
	}
	return strings.Join(names, ", ") + ": "
}

func gateOf(c Change) Gate {
	if c.phase == phaseFoundations {
		return GateFoundations
	}
	return GateNone
}

func sameBatch(a, b Change) bool {
	if a.phase != b.phase {
		return false
	}
	switch a.phase {
	case phaseComponents:
		return a.Stage == b.Stage && a.rank == b.rank
	case phaseGuards:
		return a.rank == b.rank
	case phasePrune:
		pa, ra := position(a.ID)
		pb, rb := position(b.ID)
		return pa == pb && ra == rb && (pa != phaseComponents || a.Component == b.Component)
	}
	return a.Op == Recreate == (b.Op == Recreate)
}

func batchName(c Change) string {
	rank := []string{"identity and access", "configuration", "services and workloads", "custom resources", "made anew"}
	switch c.phase {
	case phaseFoundations:
		return "namespaces and definitions"
	case phaseGuards:
		if strings.HasSuffix(c.ID.Kind, "Binding") {
			return "bindings of admission policies"
		}
		return "native admission policies"
	case phaseComponents:
		return rank[c.rank]
	case phaseWebhooks:
		return "webhooks and aggregated APIs"
	}
	return "prune"
}
