package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxManager is the API server's limit for the name of a field manager.
const maxManager = 128

// FieldManager is the name that a component's objects are applied with, for
// example millwright/tekton-chains@millwright-system/factory. The factory is
// part of it: two factories in one cluster may have components of one name, and
// neither may take the other's objects for its own.
func FieldManager(factory, component string) string {
	name := "millwright/" + component + "@" + factory
	if len(name) > maxManager {
		sum := sha256.Sum256([]byte(factory))
		name = "millwright/" + component + "@" + hex.EncodeToString(sum[:16])
	}
	return name
}

// MetaOf takes note of a live object as applied by a field manager, and says
// whether that manager owns any of its fields.
func MetaOf(o metav1.Object, manager string) (Meta, bool) {
	m := Meta{UID: string(o.GetUID()), ResourceVersion: o.GetResourceVersion(), Generation: o.GetGeneration()}
	h := sha256.New()
	enc := json.NewEncoder(h)
	managed := false
	for _, f := range o.GetManagedFields() {
		if !ours(f, manager) {
			continue
		}
		managed = true
		// Encoding plain strings and maps of strings cannot fail, and a hash
		// takes every write.
		_ = enc.Encode(f.APIVersion)
		if f.FieldsV1 != nil {
			_, _ = h.Write(f.FieldsV1.GetRawBytes())
		}
	}
	_ = enc.Encode([]any{m.Generation, o.GetLabels(), o.GetAnnotations()})
	if len(o.GetFinalizers())+len(o.GetOwnerReferences()) > 0 {
		_ = enc.Encode([]any{o.GetFinalizers(), o.GetOwnerReferences()})
	}
	m.Fingerprint = hex.EncodeToString(h.Sum(nil)[:16])
	return m, managed
}

// Keeps says whether fields that are ignored are kept for a manager.
func Keeps(o metav1.Object, manager string) bool {
	kept := IgnoredManager(manager)
	for _, f := range o.GetManagedFields() {
		if ours(f, kept) {
			return true
		}
	}
	return false
}

func ours(f metav1.ManagedFieldsEntry, manager string) bool {
	return f.Manager == manager && f.Operation == metav1.ManagedFieldsOperationApply && f.Subresource == ""
}

// SameOwnership says whether a manager owns the same fields before and after.
func SameOwnership(before, after []metav1.ManagedFieldsEntry, manager string) bool {
	return owned(before, manager) == owned(after, manager)
}

func owned(fields []metav1.ManagedFieldsEntry, manager string) string {
	var out strings.Builder
	for _, f := range fields {
		if ours(f, manager) && f.FieldsV1 != nil {
			out.WriteString(f.APIVersion + " " + f.FieldsV1.GetRawString() + "\n")
		}
	}
	return out.String()
}
