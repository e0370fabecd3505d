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
	if !bare(u) {
		return raw
	}
	u.SetAnnotations(map[string]string{noteOwner: o.Component()})
	return encoded(u.Object)
}

// bare says that an object declares nothing of its own.
func bare(u *unstructured.Unstructured) bool {
	for key := range u.Object {
		if key != "apiVersion" && key != "kind" && key != "metadata" {
			return false
		}
	}
	return len(u.GetLabels())+len(u.GetAnnotations())+len(u.GetFinalizers())+len(u.GetOwnerReferences()) == 0
}

// divided is what is sent for an object that is there already: what is declared
// without the fields that are ignored, and those fields alone, which is nil if
// the object declares none of them.
func divided(o render.Object, ignore []string) (send, kept []byte) {
	if len(ignore) == 0 {
		return body(o), nil
	}
	u := o.Unstructured()
	rest, taken := plan.Divide(u.Object, ignore)
	if taken == nil {
		return body(o), nil
	}
	keep := unstructured.Unstructured{Object: taken}
	keep.SetAPIVersion(u.GetAPIVersion())
	keep.SetKind(u.GetKind())
	keep.SetName(u.GetName())
	keep.SetNamespace(u.GetNamespace())
	if left := (&unstructured.Unstructured{Object: withoutEmpty(rest)}); bare(left) {
		left.SetAnnotations(map[string]string{noteOwner: o.Component()})
		return encoded(left.Object), encoded(keep.Object)
	}
	return encoded(rest), encoded(keep.Object)
}

func encoded(o map[string]any) []byte {
	raw, err := json.Marshal(o)
	if err != nil {
		panic("encoding what was decoded from JSON: " + err.Error()) // cannot happen
	}
	return raw
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

// withoutEmpty leaves out what became empty when fields were taken out.
func withoutEmpty(o map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range o {
		if m, ok := v.(map[string]any); !ok || len(m) > 0 {
			out[k] = v
		}
	}
	return out
}
