package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Unheld lists the declared fields that an object does not have although they
// were applied in the very request that it is the answer to: admission changed
// them on the way (F07). Which fields are ours, and which lists are one value,
// is read from managed fields, which the API server writes before admission.
// What the API server itself writes differently (quantities, times, defaults,
// empty values left out) is held.
func Unheld(declared, answer map[string]any, fields []metav1.ManagedFieldsEntry, manager string) []Difference {
	var h holding
	for _, f := range fields {
		var set map[string]any
		if ours(f, manager) && f.FieldsV1 != nil && json.Unmarshal(f.FieldsV1.GetRawBytes(), &set) == nil {
			h.object(nil, set, declared, answer)
		}
	}
	return h.out
}

type holding struct{ out []Difference }

func (h *holding) report(path []string) {
	if len(h.out) < maxDifferences {
		h.out = append(h.out, Difference{Path: cutPath(strings.Join(path, ""))})
	}
}

func (h *holding) object(path []string, set map[string]any, declared, answer any) {
	for _, key := range slices.Sorted(maps.Keys(set)) {
		kind, rest, _ := strings.Cut(key, ":")
		below, _ := set[key].(map[string]any)
		switch kind {
		case "f":
			d, _ := declared.(map[string]any)
			a, _ := answer.(map[string]any)
			want, there := d[rest]
			if !there || len(path) == 0 && rest == "stringData" { // written there, read as data
				continue
			}
			got, has := a[rest]
			h.value(append(slices.Clip(path), fieldText(rest)), below, want, pair{got, has})
		case "k":
			h.item(path, key, below, declared, answer)
		case "v":
			if list, _ := answer.([]any); !slices.ContainsFunc(list, func(i any) bool { return matches(key, i) }) {
				h.report(path)
			}
		}
	}
}

type pair struct {
	value any
	there bool
}

func (h *holding) value(path []string, below map[string]any, want any, got pair) {
	switch {
	case blank(want) && (!got.there || blank(got.value)):
	case !got.there:
		h.report(path)
	case len(below) == 0:
		if !holds(want, got.value) {
			h.report(path)
		}
	default:
		h.object(path, below, want, got.value)
	}
}

// item follows one item of a list with keys.
func (h *holding) item(path []string, key string, below map[string]any, declared, answer any) {
	list, _ := declared.([]any)
	i := slices.IndexFunc(list, func(item any) bool { return couldBe(key, item) })
	if i < 0 {
		return
	}
	at := append(slices.Clip(path), itemText(list[i], i))
	got, _ := answer.([]any)
	j := slices.IndexFunc(got, func(item any) bool { return matches(key, item) })
	if j < 0 {
		h.report(at)
		return
	}
	h.object(at, below, list[i], got[j])
}

func itemText(item any, i int) string {
	if m, ok := item.(map[string]any); ok {
		if name, ok := m["name"].(string); ok {
			return "[name=" + name + "]"
		}
	}
	return fmt.Sprintf("[%d]", i)
}

// couldBe is matches for declared items, which may leave a key to its default.
func couldBe(element string, item any) bool {
	var keys map[string]any
	object, ok := item.(map[string]any)
	if !ok || json.Unmarshal([]byte(strings.TrimPrefix(element, "k:")), &keys) != nil {
		return false
	}
	some := false
	for k, v := range keys {
		if have, there := object[k]; there {
			if fmt.Sprint(have) != fmt.Sprint(v) {
				return false
			}
			some = true
		}
	}
	return some
}

// blank says whether the API server may leave a value out: it reads the same.
func blank(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		for _, x := range v {
			if !blank(x) {
				return false
			}
		}
		return true
	case []any:
		return len(v) == 0
	}
	return reflect.ValueOf(v).IsZero()
}

// holds says whether a value that we own as a whole came out as it went in.
func holds(want, got any) bool {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return blank(want) && blank(got)
		}
		for k, v := range w {
			if x, there := g[k]; there && !holds(v, x) || !there && !blank(v) {
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return blank(want) && blank(got)
		}
		for i := range w {
			if !holds(w[i], g[i]) {
				return false
			}
		}
		return true
	}
	return sameScalar(want, got)
}

func sameScalar(want, got any) bool {
	a, b := fmt.Sprint(want), fmt.Sprint(got)
	if a == b || blank(want) && blank(got) {
		return true
	}
	if x, err := resource.ParseQuantity(a); err == nil {
		if y, err := resource.ParseQuantity(b); err == nil {
			return x.Cmp(y) == 0
		}
	}
	if x, err := time.Parse(time.RFC3339, a); err == nil {
		y, err := time.Parse(time.RFC3339, b)
		return err == nil && x.Equal(y)
	}
	return false
}

// cutPath bounds a path as reports show it.
func cutPath(path string) string {
	if len(path) > maxPath {
		return path[:maxPath] + "…"
	}
	return path
}
