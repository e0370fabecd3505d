package plan

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxDifferences bounds what is reported of one object, maxPath each path.
const (
	maxDifferences = 20
	maxPath        = 256
)

// Compare lists the fields in which a live object is not what it would be
// after applying, with who wrote each of them. Both are whole objects as the
// API server returns them; fields that the server sets by itself do not count.
func Compare(live, want map[string]any, fields []metav1.ManagedFieldsEntry, manager string) []Difference {
	d := differ{fields: fields, manager: manager}
	d.object(nil, live, want)
	d.blameRemovals()
	return d.out
}

// CompareOwned is [Compare] of a live object with what applying would make of
// it, split in two: what applying would put right, and what it would change
// although nobody declares it. The latter comes from admission that answers the
// same write with something else each time, and writing again would not end it
// (H10). What cannot be told is ours.
func CompareOwned(live, want map[string]any, fields, after []metav1.ManagedFieldsEntry, manager string) (ours, noise []Difference) {
	d := differ{fields: fields, manager: manager, after: after, split: true}
	d.object(nil, live, want)
	d.blameRemovals()
	return d.out, d.noise
}

// step is one element of a path together with what the live object holds
// there, which is needed to recognise list items in managed fields.
type step struct {
	text  string
	field string
	item  any
	index bool
}

type differ struct {
	fields  []metav1.ManagedFieldsEntry
	manager string
	out     []Difference
	removed []bool // of each difference: the live object lacks the field
	// split sorts out differences that our manager owns neither in fields nor in
	// those after applying.
	split bool
	after []metav1.ManagedFieldsEntry
	noise []Difference
}

// owned says whether our manager owns the field at path or anything below it,
// before or after applying. Items of lists without names cannot be told apart.
func (d *differ) owned(path []step) bool {
	for _, s := range path {
		if s.index {
			return true
		}
	}
	for _, all := range [][]metav1.ManagedFieldsEntry{d.fields, d.after} {
		for i := range all {
			if ours(all[i], d.manager) && owns(&all[i], path) {
				return true
			}
		}
	}
	return false
}

// serverSet are the fields that the API server writes on its own account.
func serverSet(path []step, key string) bool {
	switch len(path) {
	case 0:
		return key == "status" || key == "apiVersion" || key == "kind"
	case 1:
		if path[0].field != "metadata" {
			return false
		}
		switch key {
		case "managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink",
			"deletionTimestamp", "deletionGracePeriodSeconds":
			return true
		}
	}
	return false
}

func (d *differ) object(path []step, live, want map[string]any) {
	keys := map[string]bool{}
	for k := range live {
		keys[k] = true
	}
	for k := range want {
		keys[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if serverSet(path, k) {
			continue
		}
		l, inLive := live[k]
		w, inWant := want[k]
		next := append(slices.Clip(path), step{text: fieldText(k), field: k})
		if inLive && inWant {
			d.value(next, l, w)
		} else {
			d.report(next, !inLive)
		}
	}
}

func (d *differ) value(path []step, live, want any) {
	switch w := want.(type) {
	case map[string]any:
		if l, ok := live.(map[string]any); ok {
			d.object(path, l, w)
			return
		}
	case []any:
		if l, ok := live.([]any); ok {
			d.list(path, l, w)
			return
		}
	}
	if !reflect.DeepEqual(live, want) {
		d.report(path, false)
	}
}

// list compares by the name of the items where all have one, else by index.
func (d *differ) list(path []step, live, want []any) {
	ln, lok := names(live)
	wn, wok := names(want)
	if lok && wok {
		for i, n := range wn {
			next := append(slices.Clip(path), step{text: "[name=" + n + "]", item: want[i]})
			if j := slices.Index(ln, n); j < 0 {
				d.report(next, true)
			} else {
				next[len(path)].item = live[j]
				d.value(next, live[j], want[i])
			}
		}
		for j, n := range ln {
			if !slices.Contains(wn, n) {
				d.report(append(slices.Clip(path), step{text: "[name=" + n + "]", item: live[j]}), false)
			}
		}
		return
	}
	for i := range max(len(live), len(want)) {
		next := append(slices.Clip(path), step{text: "[" + strconv.Itoa(i) + "]", index: true})
		switch {
		case i >= len(live):
			d.report(next, true)
		case i >= len(want):
			next[len(path)].item = live[i]
			d.report(next, false)
		default:
			next[len(path)].item = live[i]
			d.value(next, live[i], want[i])
		}
	}
}

func names(list []any) ([]string, bool) {
	out := make([]string, 0, len(list))
	for _, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			return nil, false
		}
		n, ok := m["name"].(string)
		if !ok || slices.Contains(out, n) {
			return nil, false
		}
		out = append(out, n)
	}
	return out, true
}

// fieldText keeps a path readable and unambiguous whatever a key holds.
func fieldText(key string) string {
	if key == "" || strings.ContainsFunc(key, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-' && r != '$'
	}) {
		return fmt.Sprintf("[%q]", key)
	}
	return "." + key
}

func (d *differ) report(path []step, missing bool) {
	noise := d.split && !d.owned(path)
	if len(d.out) >= maxDifferences && !noise || len(d.noise) >= maxDifferences && noise {
		return
	}
	var text strings.Builder
	for _, s := range path {
		text.WriteString(s.text)
	}
	diff := Difference{Path: text.String()}
	if len(diff.Path) > maxPath {
		diff.Path = diff.Path[:maxPath] + "…"
	}
	if e := d.culprit(path); e != nil && !missing {
		diff.Manager, diff.Operation = bounded(e.Manager), string(e.Operation)
		if e.Time != nil {
			t := e.Time.UTC()
			diff.Time = &t
		}
	}
	if noise {
		d.noise = append(d.noise, diff)
		return
	}
	d.out, d.removed = append(d.out, diff), append(d.removed, missing)
}

// bounded keeps a name that anybody may choose printable on one line.
func bounded(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
	if len(s) > 128 {
		s = s[:128] + "…"
	}
	return s
}

// culprit finds who wrote the field at path, the newest if several own it. Nil
// if the object does not tell.
func (d *differ) culprit(path []step) *metav1.ManagedFieldsEntry {
	var found, own *metav1.ManagedFieldsEntry
	for i := range d.fields {
		switch f := &d.fields[i]; {
		case !owns(f, path):
		case ours(*f, d.manager):
			own = f
		case found == nil || newer(f, found):
			found = f
		}
	}
	if found == nil {
		// Nobody else has it, and it is not what we declared: somebody wrote under
		// our name (F01).
		return own
	}
	return found
}

// blameRemovals names who removed fields. Managed fields do not tell: nobody
// owns what is not there. If all that was changed beside it in the same object
// is by one manager, it is taken for the remover; otherwise nobody is named.
func (d *differ) blameRemovals() {
	var by *Difference
	for i := range d.out {
		x := &d.out[i]
		if x.Manager == "" {
			continue
		}
		if by != nil && by.Manager != x.Manager {
			return
		}
		by = x
	}
	if by == nil {
		return
	}
	for i := range d.out {
		if d.removed[i] {
			d.out[i].Manager, d.out[i].Operation, d.out[i].Time = by.Manager, by.Operation, by.Time
		}
	}
}

func newer(a, b *metav1.ManagedFieldsEntry) bool {
	return a.Time != nil && (b.Time == nil || a.Time.After(b.Time.Time))
}

// owns walks the managed fields of one writer along path.
func owns(f *metav1.ManagedFieldsEntry, path []step) bool {
	if f.FieldsV1 == nil {
		return false
	}
	var set map[string]any
	if json.Unmarshal(f.FieldsV1.GetRawBytes(), &set) != nil {
		return false
	}
	for _, s := range path {
		next, ok := descend(set, s)
		if !ok {
			return false
		}
		if len(next) == 0 {
			return true // the writer owns the whole value from here on
		}
		set = next
	}
	return true
}

func descend(set map[string]any, s step) (map[string]any, bool) {
	if s.field != "" {
		child, ok := set["f:"+s.field].(map[string]any)
		return child, ok
	}
	for key, child := range set {
		if m, ok := child.(map[string]any); ok && matches(key, s.item) {
			return m, true
		}
	}
	return nil, false
}

// matches says whether a list element of managed fields (k: by keys, v: by
// value) is the given item.
func matches(element string, item any) bool {
	kind, raw, ok := strings.Cut(element, ":")
	if !ok {
		return false
	}
	var want any
	if json.Unmarshal([]byte(raw), &want) != nil {
		return false
	}
	switch kind {
	case "v":
		return fmt.Sprint(want) == fmt.Sprint(item)
	case "k":
		keys, _ := want.(map[string]any)
		object, _ := item.(map[string]any)
		for k, v := range keys {
			if fmt.Sprint(object[k]) != fmt.Sprint(v) {
				return false
			}
		}
		return len(keys) > 0 && object != nil
	}
	return false
}
