package factory

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"millwright.dev/millwright/render"
)

const (
	maxObjectRules = 256
	maxIgnore      = 32
	// maxField is what a plan cuts the path of a field to.
	maxField = 256
)

type fileObject struct {
	Group     string    `json:"group"`
	Kind      string    `json:"kind"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Drift     DriftMode `json:"drift"`
	Ignore    []string  `json:"ignore"`
	Exact     bool      `json:"exact"`
	Force     bool      `json:"force"`
	Recreate  bool      `json:"recreate"`
}

var (
	// The API server's own rules for groups, kinds and names, in their widest form.
	groupName  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)
	kindName   = regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,62}$`)
	objectName = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9._:]{0,251}[A-Za-z0-9])?$`)
)

func decodeObjects(at string, in []fileObject) ([]ObjectRule, error) {
	if len(in) > maxObjectRules {
		return nil, refuse("factory/count", at, fmt.Sprintf("%d entries", len(in)), fmt.Sprintf("list at most %d", maxObjectRules))
	}
	seen := map[Selector]bool{}
	var out []ObjectRule
	for i, o := range in {
		at := fmt.Sprintf("%s[%d]", at, i)
		s := Selector{Group: o.Group, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}
		if err := checkSelector(at, s); err != nil {
			return nil, err
		}
		if seen[s] {
			return nil, refuse("factory/twice", at, s.String(), "say in one entry all there is to say about the same objects")
		}
		seen[s] = true
		if err := checkRule(at, o); err != nil {
			return nil, err
		}
		out = append(out, ObjectRule{s, Rule{
			Drift: o.Drift, Ignore: slices.Clone(o.Ignore), Exact: o.Exact, Force: o.Force, Recreate: o.Recreate,
		}})
	}
	return out, nil
}

func checkSelector(at string, s Selector) error {
	const hint = "write the exact string, as kubectl shows it; leave namespace or name out to mean any"
	switch {
	case s.Group != "" && !groupName.MatchString(s.Group):
		return refuse("factory/object", at+".group", fmt.Sprintf("%q", s.Group), hint)
	case !kindName.MatchString(s.Kind):
		return refuse("factory/object", at+".kind", fmt.Sprintf("%q", s.Kind), "name the kind, for example Deployment")
	case s.Namespace != "" && !label.MatchString(s.Namespace):
		return refuse("factory/object", at+".namespace", fmt.Sprintf("%q", s.Namespace), hint)
	case s.Name != "" && !objectName.MatchString(s.Name):
		return refuse("factory/object", at+".name", fmt.Sprintf("%q", s.Name), hint)
	}
	return nil
}

func checkRule(at string, o fileObject) error {
	switch {
	case o.Drift == "" && len(o.Ignore) == 0 && !o.Exact && !o.Force && !o.Recreate:
		return refuse("factory/object", at, "an entry that sets nothing", "set drift, ignore, exact, force or recreate, or take it out")
	case o.Drift != "" && o.Drift != DriftCorrect && o.Drift != DriftAlert && o.Drift != DriftOff:
		return refuse("factory/drift", at+".drift", fmt.Sprintf("%q", o.Drift), "write correct, alert or \"off\" (in quotes: bare, YAML takes it for false), or leave it out")
	case o.Drift == DriftOff && (len(o.Ignore) > 0 || o.Exact):
		return refuse("factory/object", at, "drift off with ignore or exact", "where nobody looks nothing is ignored or exact: take one of them out")
	case o.Recreate && (render.ID{Group: o.Group, Kind: o.Kind}).Irreplaceable():
		return refuse("factory/object", at+".recreate", o.Kind, "deleting one takes along what no manifest brings back; change it by hand, or declare another under a new name")
	case len(o.Ignore) > maxIgnore:
		return refuse("factory/count", at+".ignore", fmt.Sprintf("%d fields", len(o.Ignore)), fmt.Sprintf("list at most %d", maxIgnore))
	}
	return checkIgnore(at+".ignore", o.Ignore)
}

func checkIgnore(at string, fields []string) error {
	for i, f := range fields {
		at := fmt.Sprintf("%s[%d]", at, i)
		if len(f) > maxField || !canonicalField(f) {
			return refuse("factory/field", at, strconv.Quote(f[:min(len(f), maxField)]),
				`spell it as the status does, for example .spec.replicas, .metadata.annotations["example.org/a"], .spec.containers[name=web].image`)
		}
		for _, never := range []string{".apiVersion", ".kind", ".status", ".metadata.name", ".metadata.namespace", ".metadata.managedFields"} {
			if covers(never, f) || covers(f, never) {
				return refuse("factory/field", at, f, "name a field that can differ, and no more than it")
			}
		}
		for j, g := range fields[:i] {
			if covers(g, f) || covers(f, g) {
				return refuse("factory/twice", at, fmt.Sprintf("%s and %s of entry %d", f, g, j), "name each field once; one stands for all below it")
			}
		}
	}
	return nil
}

// canonicalField says whether a path is spelled as plans spell it, so that
// comparing strings is enough to find it again: a plain key after a dot, any
// other key as a JSON string in brackets, list items by name or by index.
func canonicalField(f string) bool {
	if f == "" || f[0] != '.' {
		return false
	}
	for f != "" {
		rest, ok := cutStep(f)
		if !ok {
			return false
		}
		f = rest
	}
	return true
}

func cutStep(f string) (rest string, ok bool) {
	if f[0] == '.' {
		end := 1
		for end < len(f) && plainKey(f[end]) {
			end++
		}
		return f[end:], end > 1
	}
	inner, bracket := strings.CutPrefix(f, "[")
	if !bracket {
		return "", false
	}
	if strings.HasPrefix(inner, `"`) {
		return cutQuoted(inner)
	}
	inner, rest, ok = strings.Cut(inner, "]")
	if name, named := strings.CutPrefix(inner, "name="); named {
		return rest, ok && name != ""
	}
	n, err := strconv.Atoi(inner)
	return rest, ok && err == nil && n >= 0 && strconv.Itoa(n) == inner
}

func cutQuoted(inner string) (rest string, ok bool) {
	quoted, err := strconv.QuotedPrefix(inner)
	if err != nil {
		return "", false
	}
	key, err := strconv.Unquote(quoted)
	if err != nil || strconv.Quote(key) != quoted {
		return "", false
	}
	plain := key != ""
	for i := range len(key) {
		plain = plain && plainKey(key[i])
	}
	if plain {
		return "", false // it is spelled with a dot
	}
	return strings.CutPrefix(inner[len(quoted):], "]")
}

func plainKey(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '$'
}
