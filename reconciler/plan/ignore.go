package plan

import (
	"maps"
	"slices"
	"strings"
)

// ignoredPrefix stands where a component's field manager has "millwright/".
const ignoredPrefix = "millwright-ignored/"

// IgnoredManager is the field manager that keeps the fields that a factory
// declares and then ignores: it owns them from when the object is made until
// somebody else takes them, so that they do not go away when the component's
// own manager stops applying them.
func IgnoredManager(manager string) string {
	name := ignoredPrefix + strings.TrimPrefix(manager, "millwright/")
	if len(name) > maxManager {
		name = ignoredPrefix + digest([]byte(manager))[len("sha256:"):][:32]
	}
	return name
}

// IgnoreDigest names a list of ignored fields; empty for none.
func IgnoreDigest(paths []string) string {
	if len(paths) == 0 {
		return ""
	}
	return digest([]byte(strings.Join(slices.Sorted(slices.Values(paths)), "\n")))
}

// Divide takes the fields at some paths out of a declared object, and returns
// what is left and an object of nothing but them, which is nil if the object
// declares none of them. Paths go through fields and list items with names; a
// path through an index is left where it is, since a list without names is
// applied as a whole.
func Divide(declared map[string]any, paths []string) (rest, taken map[string]any) {
	rest = declared
	for _, p := range paths {
		left, out, found := divide(any(rest), p)
		if !found {
			continue
		}
		rest, _ = left.(map[string]any)
		o, _ := out.(map[string]any)
		taken, _ = unite(taken, o).(map[string]any)
	}
	return rest, taken
}

func divide(value any, path string) (rest, taken any, found bool) {
	step, tail := cutText(path)
	switch v := value.(type) {
	case map[string]any:
		for k, child := range v {
			if fieldText(k) != step {
				continue
			}
			left := copyMap(v)
			if tail == "" {
				delete(left, k)
				return left, map[string]any{k: child}, true
			}
			remains, out, ok := divide(child, tail)
			left[k] = remains
			return left, map[string]any{k: out}, ok
		}
	case []any:
		i := slices.IndexFunc(v, func(item any) bool { return itemText(item, -1) == step })
		m, ok := any(nil), false
		if i >= 0 {
			m, ok = v[i].(map[string]any)
		}
		if !ok || tail == "" {
			return value, nil, false
		}
		remains, out, found := divide(m, tail)
		left := slices.Clone(v)
		left[i] = remains
		if item, ok := out.(map[string]any); ok && found {
			original, _ := m.(map[string]any)
			item["name"] = original["name"]
		}
		return left, []any{out}, found
	}
	return value, nil, false
}

func copyMap(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	maps.Copy(out, m)
	return out
}

// unite puts what was taken at two paths into one object.
func unite(a, b any) any {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			return b
		}
		out := copyMap(x)
		for k, v := range y {
			if old, there := out[k]; there {
				v = unite(old, v)
			}
			out[k] = v
		}
		if x == nil {
			return y
		}
		return out
	case []any:
		y, ok := b.([]any)
		if !ok {
			return b
		}
		out := slices.Clone(x)
		for _, item := range y {
			i := slices.IndexFunc(out, func(o any) bool { return itemText(o, -1) == itemText(item, -1) })
			if i < 0 {
				out = append(out, item)
			} else {
				out[i] = unite(out[i], item)
			}
		}
		return out
	}
	return b
}
