package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/render"
)

// Extra is a field of a live object that another manager owns and that is not
// declared (F05).
type Extra struct {
	Difference
	// Pointer is the field as a JSON pointer into the object as it was read.
	Pointer string
}

// Foreign says whether somebody else owns fields of an object that we do not
// own, status aside; of the metadata labels, annotations, finalizers and owner
// references count. It needs no more than managed fields, and takes them for what
// they are: written by the API server.
func Foreign(o metav1.Object, manager string) bool {
	own := ownSets(o.GetManagedFields(), manager)
	for _, set := range strangers(o.GetManagedFields(), manager) {
		if beyond(content(set.fields, true), own, 0) {
			return true
		}
	}
	return false
}

type stranger struct {
	entry  *metav1.ManagedFieldsEntry
	fields map[string]any
}

// strangers are the writers of an object beside us. Subresources are another
// matter: their writers have been given that right for itself.
func strangers(fields []metav1.ManagedFieldsEntry, manager string) []stranger {
	var out []stranger
	for i := range fields {
		f := &fields[i]
		if f.Subresource != "" || f.FieldsV1 == nil || ours(*f, manager) || ours(*f, IgnoredManager(manager)) {
			continue
		}
		s := stranger{entry: f}
		if json.Unmarshal(f.FieldsV1.GetRawBytes(), &s.fields) == nil {
			out = append(out, s)
		}
	}
	return out
}

// ownSets are the fields that we own, as trees.
func ownSets(fields []metav1.ManagedFieldsEntry, manager string) []map[string]any {
	var out []map[string]any
	for _, f := range fields {
		var set map[string]any
		if (ours(f, manager) || ours(f, IgnoredManager(manager))) && f.FieldsV1 != nil &&
			json.Unmarshal(f.FieldsV1.GetRawBytes(), &set) == nil {
			out = append(out, set)
		}
	}
	return out
}

// below descends in every tree that has the key; owned says that one of them
// ends there, that is, owns the whole value.
func below(sets []map[string]any, key string) (next []map[string]any, owned bool) {
	for _, s := range sets {
		child, there := s[key].(map[string]any)
		if !there {
			continue
		}
		owned = owned || len(child) == 0
		next = append(next, child)
	}
	return next, owned
}

// content leaves out of what somebody owns the parts that are no content of the
// object: all of the metadata, or all but what others read decisions from.
func content(set map[string]any, metadata bool) map[string]any {
	out := map[string]any{}
	for key, child := range set {
		switch key {
		case "f:status", "f:apiVersion", "f:kind":
		case keyMetadata:
			if kept := guiding(child); metadata && len(kept) > 0 {
				out[key] = kept
			}
		default:
			out[key] = child
		}
	}
	return out
}

const keyMetadata = "f:metadata"

// guiding are the parts of the metadata by which objects are selected, switched
// off, held back from deletion, or deleted with others.
func guiding(metadata any) map[string]any {
	out := map[string]any{}
	m, _ := metadata.(map[string]any)
	for _, key := range []string{"f:labels", "f:annotations", "f:finalizers", "f:ownerReferences"} {
		if child, there := m[key]; there {
			out[key] = child
		}
	}
	return out
}

func beyond(set map[string]any, own []map[string]any, depth int) bool {
	for key, child := range set {
		if key == "." {
			continue
		}
		next, owned := below(own, key)
		if len(next) == 0 && (depth != 0 || key != keyMetadata) {
			return true
		}
		m, _ := child.(map[string]any)
		if !owned && len(m) > 0 && beyond(m, next, depth+1) {
			return true
		}
	}
	return false
}

// Ownership are the managed fields of an object as it is, and as they would be
// after applying: what others took from us is drift, and not extra.
type Ownership struct{ Before, After []metav1.ManagedFieldsEntry }

// Extras lists the fields of a live object that others own and that are not
// declared, each once, as far up as nothing below is ours. Metadata counts where
// it is asked for. ignored says which fields are not looked at.
func Extras(live map[string]any, fields Ownership, manager string, metadata bool, ignored func(path string) bool) []Extra {
	own := ownSets(fields.After, manager)
	x := extras{ignored: ignored, seen: map[string]bool{}}
	for _, s := range strangers(fields.Before, manager) {
		x.by = s.entry
		x.walk(spot{value: live}, content(s.fields, metadata), own)
	}
	slices.SortFunc(x.out, func(a, b Extra) int { return comparePointers(b.Pointer, a.Pointer) })
	return x.out
}

type extras struct {
	ignored func(string) bool
	by      *metav1.ManagedFieldsEntry
	seen    map[string]bool
	out     []Extra
}

// spot is a place in an object.
type spot struct {
	path, pointer string
	value         any
	depth         int
}

// step goes to where a key of managed fields points; false if there is nothing
// any more.
func (s spot) step(key string) (spot, bool) {
	kind, rest, _ := strings.Cut(key, ":")
	if kind == "f" {
		m, _ := s.value.(map[string]any)
		v, there := m[rest]
		escaped := strings.ReplaceAll(strings.ReplaceAll(rest, "~", "~0"), "/", "~1")
		return spot{s.path + fieldText(rest), s.pointer + "/" + escaped, v, s.depth + 1}, there
	}
	list, _ := s.value.([]any)
	i := slices.IndexFunc(list, func(item any) bool { return matches(key, item) })
	if i < 0 {
		return spot{}, false
	}
	return spot{s.path + itemText(list[i], i), s.pointer + "/" + strconv.Itoa(i), list[i], s.depth + 1}, true
}

func (x *extras) walk(at spot, set map[string]any, own []map[string]any) {
	for _, key := range slices.Sorted(maps.Keys(set)) {
		if key == "." {
			continue
		}
		to, there := at.step(key)
		if !there || x.ignored(to.path) || len(x.out) >= maxDifferences {
			continue
		}
		next, owned := below(own, key)
		child, _ := set[key].(map[string]any)
		switch {
		case len(next) == 0 && (at.depth != 0 || key != keyMetadata):
			x.found(to)
		case !owned && len(child) > 0:
			x.walk(to, child, next)
		}
	}
}

func (x *extras) found(at spot) {
	if x.seen[at.pointer] {
		return
	}
	x.seen[at.pointer] = true
	d := Difference{Path: cutPath(at.path), Manager: bounded(x.by.Manager), Operation: string(x.by.Operation)}
	if x.by.Time != nil {
		t := x.by.Time.UTC()
		d.Time = &t
	}
	x.out = append(x.out, Extra{Difference: d, Pointer: at.pointer})
}

// comparePointers orders so that what comes later in a list is greater: removed
// from the greatest to the least, no pointer changes its meaning on the way.
func comparePointers(a, b string) int {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	for i := range min(len(as), len(bs)) {
		x, errX := strconv.Atoi(as[i])
		y, errY := strconv.Atoi(bs[i])
		if errX == nil && errY == nil && x != y {
			return x - y
		}
		if c := strings.Compare(as[i], bs[i]); c != 0 {
			return c
		}
	}
	return len(as) - len(bs)
}

// Expected says whether a field that somebody else writes belongs there by the
// design of Kubernetes, so that exact matching leaves it alone: the certificate
// authority that an injector keeps current (H17), and the rules that the API
// server's own controller gathers for an aggregated role.
func Expected(id render.ID, path string, declared map[string]any) bool {
	switch id.Group {
	case groupAdmission:
		return strings.HasPrefix(path, ".webhooks[") && strings.HasSuffix(path, ".clientConfig.caBundle")
	case groupRBAC:
		_, aggregated := declared["aggregationRule"]
		return aggregated && path == ".rules"
	}
	return false
}

// RemovalPatch is the JSON patch that removes fields of an object as it was
// read, and fails if the object is not that any more.
func RemovalPatch(resourceVersion string, removed []Extra) ([]byte, error) {
	type op struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value string `json:"value,omitempty"`
	}
	ops := []op{{"test", "/metadata/resourceVersion", resourceVersion}}
	for _, x := range removed {
		ops = append(ops, op{Op: "remove", Path: x.Pointer})
	}
	out, err := json.Marshal(ops)
	if err != nil {
		return nil, fmt.Errorf("encoding the removal of %d fields: %w", len(removed), err)
	}
	return out, nil
}

// Removable are the extras that are really gone after a removal: what the API
// server or an admission webhook puts back at once is theirs, not somebody's
// addition.
func Removable(found []Extra, after map[string]any) []Extra {
	return slices.DeleteFunc(slices.Clone(found), func(x Extra) bool { return has(after, x) })
}

// has says whether an object still has the field of an extra. List items move
// up when others are removed, so they are looked for by the path, where items
// have names, and otherwise taken for gone.
func has(o map[string]any, x Extra) bool {
	value, rest := any(o), x.Path
	for rest != "" {
		text, tail := cutText(rest)
		rest = tail
		switch v := value.(type) {
		case map[string]any:
			found := false
			for k, child := range v {
				if fieldText(k) == text {
					value, found = child, true
				}
			}
			if !found {
				return false
			}
		case []any:
			i := slices.IndexFunc(v, func(item any) bool { return itemText(item, -1) == text })
			if i < 0 {
				return false
			}
			value = v[i]
		default:
			return false
		}
	}
	return true
}

// cutText takes the first step off a path.
func cutText(path string) (first, rest string) {
	if strings.HasPrefix(path, `["`) {
		if quoted, err := strconv.QuotedPrefix(path[1:]); err == nil && strings.HasPrefix(path[1+len(quoted):], "]") {
			end := len(quoted) + 2
			return path[:end], path[end:]
		}
	}
	if strings.HasPrefix(path, "[") {
		if i := strings.IndexByte(path, ']'); i > 0 {
			return path[:i+1], path[i+1:]
		}
	}
	if i := strings.IndexAny(path[1:], ".["); i >= 0 {
		return path[:i+1], path[i+1:]
	}
	return path, ""
}
