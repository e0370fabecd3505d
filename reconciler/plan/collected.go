package plan

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Collected says who made an object depend on others, so that the garbage
// collector deletes it with them, from the last that was seen of it (H15). What
// we declare depends on nothing: manifests with owner references are refused.
func Collected(o metav1.Object) (Difference, bool) {
	if len(o.GetOwnerReferences()) == 0 {
		return Difference{}, false
	}
	d := differ{fields: o.GetManagedFields()}
	d.report([]step{{text: ".metadata", field: "metadata"}, {text: ".ownerReferences", field: "ownerReferences"}}, false)
	return d.out[0], true
}
