package plan

import (
	"strings"

	"millwright.dev/millwright/render"
)

// Protected says whether an object decides who may do what, or what is let into
// the cluster: roles and their bindings, admission policies and webhooks,
// Kyverno policies, who gets which SPIFFE identity, and what Tekton and Chains
// are told to verify and sign. Of such an object the whole content counts, not
// only the declared fields, and backing off from a fight over it is short.
func Protected(id render.ID) bool {
	switch id.Group {
	case groupRBAC, groupAdmission, "kyverno.io", "policies.kyverno.io", "spire.spiffe.io":
		return true
	case "tekton.dev":
		return id.Kind == "VerificationPolicy"
	case "":
		return id.Kind == "ConfigMap" && configures(id)
	}
	return false
}

// configures says whether a ConfigMap is one that Tekton Pipelines or Chains
// read their settings from: all that are declared in their namespaces, and by
// name the two that say what is verified and how is signed.
func configures(id render.ID) bool {
	return strings.HasPrefix(id.Namespace, "tekton-") || id.Name == "chains-config" || id.Name == "feature-flags"
}
