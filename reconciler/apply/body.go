package apply

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/render"
)

// noteOwner marks an object that declares nothing of its own.
const noteOwner = "millwright.dev/component"

// maxBare is more than the JSON of an object can take that has only a name.
const maxBare = 1 << 10

// body is what is sent for a declared object: its canonical JSON. An object
// that declares nothing but its name (a plain Namespace or ServiceAccount) has
// no field that a field manager could own, so nothing on it would say that it
// is ours: it is sent with an annotation that names its component.
func body(o render.Object) []byte {
	raw := o.JSON()
	if len(raw) > maxBare {
		return raw
	}
	u := o.Unstructured()
	for key := range u.Object {
		if key != "apiVersion" && key != "kind" && key != "metadata" {
			return raw
		}
	}
	if len(u.GetLabels())+len(u.GetAnnotations())+len(u.GetFinalizers())+len(u.GetOwnerReferences()) > 0 {
		return raw
	}
	u.SetAnnotations(map[string]string{noteOwner: o.Component()})
	marked, err := json.Marshal(u.Object)
	if err != nil {
		return raw // cannot happen: it was decoded from JSON
	}
	return marked
}

// nameOnly is an object that declares nothing.
func nameOnly(c plan.Change) []byte {
	u := unstructured.Unstructured{Object: map[string]any{}}
	u.SetAPIVersion(c.APIVersion)
	u.SetKind(c.ID.Kind)
	u.SetName(c.ID.Name)
	u.SetNamespace(c.ID.Namespace)
	raw, err := json.Marshal(u.Object)
	if err != nil {
		panic("encoding plain strings: " + err.Error()) // cannot happen
	}
	return raw
}
