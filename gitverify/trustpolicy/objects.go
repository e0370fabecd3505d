package trustpolicy

import (
	"slices"
	"strings"
)

// Object names a rendered object. The group of core objects is empty, and so is
// the namespace of an object of the cluster.
type Object struct{ Group, Kind, Namespace, Name string }

// ObjectSelector picks rendered objects: by a ready-made set, or by patterns in
// which * is any run of bytes. What is not given, does not restrict.
type ObjectSelector struct {
	Set string
	// Kinds are "Kind.group", "Kind" for core objects; "*" is every kind.
	Kinds      []string
	Namespaces []string
	Names      []string
}

// Selects says that the rule is about the object.
func (r *Rule) Selects(o Object) bool {
	return slices.ContainsFunc(r.Objects, func(s ObjectSelector) bool { return s.selects(o) })
}

func (s ObjectSelector) selects(o Object) bool {
	if s.Set != "" {
		return slices.ContainsFunc(setOf(s.Set), func(member ObjectSelector) bool { return member.selects(o) })
	}
	return anyOf(s.Kinds, func(kind string) bool { return kindMatches(kind, o) }) &&
		anyOf(s.Namespaces, func(pattern string) bool { return glob(pattern, o.Namespace) }) &&
		anyOf(s.Names, func(pattern string) bool { return glob(pattern, o.Name) })
}

func anyOf(patterns []string, matches func(string) bool) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, matches)
}

func kindMatches(pattern string, o Object) bool {
	kind, group, _ := strings.Cut(pattern, ".")
	if pattern == "*" {
		group = "*"
	}
	return glob(kind, o.Kind) && glob(group, o.Group)
}

// setGuards is the union of all sets.
const setGuards = "guards"

// Sets lists the names of the ready-made sets.
func Sets() []string {
	return []string{setGuards, "admission-policies", "webhooks", "rbac", "feature-flags", "trust-roots", "signer-settings"}
}

// setOf is the table of the ready-made sets: what keeps a factory honest while
// it runs, so that loosening it is loosening everything else. Each is wide rather
// than narrow: an object too many costs an approval, one too few a factory.
func setOf(name string) []ObjectSelector {
	switch name {
	case setGuards:
		var all []ObjectSelector
		for _, set := range Sets()[1:] {
			all = append(all, setOf(set)...)
		}
		return all
	case "admission-policies":
		return []ObjectSelector{
			{Kinds: []string{
				"ValidatingAdmissionPolicy*.admissionregistration.k8s.io", "MutatingAdmissionPolicy*.admissionregistration.k8s.io",
				"*.kyverno.io", "*.policies.kyverno.io", "VerificationPolicy.tekton.dev", "*.policy.sigstore.dev",
				"Namespace", // its labels decide which policies and which pod security hold in it
			}},
			{Kinds: []string{"ConfigMap"}, Namespaces: []string{"kyverno"}}, // resourceFilters exempt whatever they name
		}
	case "webhooks":
		return []ObjectSelector{{Kinds: []string{
			"ValidatingWebhookConfiguration.admissionregistration.k8s.io", "MutatingWebhookConfiguration.admissionregistration.k8s.io",
			"CustomResourceDefinition.apiextensions.k8s.io", // conversion webhooks rewrite objects
			"APIService.apiregistration.k8s.io",
		}}}
	case "rbac":
		return []ObjectSelector{{Kinds: []string{"*.rbac.authorization.k8s.io", "ServiceAccount"}}}
	case "feature-flags":
		return []ObjectSelector{{Kinds: []string{"ConfigMap"}, Namespaces: []string{"tekton-*"}}, {Kinds: []string{"*.operator.tekton.dev"}}}
	case "trust-roots":
		return []ObjectSelector{
			{Kinds: []string{
				"ClusterTrustBundle.certificates.k8s.io", "TrustRoot.policy.sigstore.dev", "Bundle.trust.cert-manager.io",
				"*FederatedTrustDomain.spire.spiffe.io",
				"*.millwright.dev", // a Factory pins the anchor and the trusted root
			}},
			{Kinds: []string{"ConfigMap", "Secret"}, Names: []string{"*trust*", "*tuf*", "*-bundle", "*-ca", "*-root*"}},
			{Kinds: []string{"ConfigMap", "Secret"}, Namespaces: []string{"tuf-system"}},
		}
	case "signer-settings":
		return []ObjectSelector{
			{
				Kinds:      []string{"ConfigMap", "Secret", "Deployment.apps", "StatefulSet.apps", "DaemonSet.apps"},
				Namespaces: []string{"tekton-chains", "spire-*", "spire", "fulcio-*", "rekor-*", "ctlog-*", "tsa-*", "millwright-system"},
			},
			{Kinds: []string{"*.spire.spiffe.io", "CSIDriver.storage.k8s.io"}},
		}
	}
	return nil
}
