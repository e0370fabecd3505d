package render

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/kyaml/kio"
)

// What is accepted can be read by kustomize and has JSON, and that is not larger
// than the bounds allow. kustomize ends the process where an object has none.
func FuzzYAMLLimits(f *testing.F) {
	for _, seed := range []string{
		"a: b\n", "a: &a [x]\nb: [*a, *a]\n", "&a [*a]", "a: [[[[[[[[x]]]]]]]]", "- - - - - - - - - - - x", "a:\n- b:\n  - c:\n    - d:\n      - e",
		"a: {b: {c: {d: {e: {f: {g: h}}}}}}", "a\n...\nb", "\n---\n---\na", "a: |\n  *b\n---\nc: *d", "\"a\": !!str *b", "a: 'x\r\n---\r\nb'",
		"? ? ? ? ? ? a", "a: *a", "\ufeffa: b", "%YAML 1.1\n---\na", "x: \"]\"\ny: [[[[[[[[[[\n1]]]]]]]]]]", "a:\u2028b: *c", "<<: *a", "1: a", "a: .nan", "a: !!int x", "a: !!timestamp x", "a: !x {}", "a: 1\na: 2", "a: 2001-01-01", "a: &b {c: d}\ne: {<<: *b}",
	} {
		f.Add([]byte(seed))
	}
	limits := Limits{Depth: 8, AliasNodes: 1, AliasBytes: 1, Documents: 100}.withDefaults()
	f.Fuzz(func(t *testing.T, text []byte) {
		if _, err := checkYAML("fuzz", text, limits); err != nil {
			var refused *Refusal
			if !errors.As(err, &refused) {
				t.Fatalf("not a refusal: %v", err)
			}
			return
		}
		nodes, err := kio.FromBytes(text)
		if err != nil {
			return
		}
		size := 0
		for _, n := range nodes {
			if n.YNode().Kind != yaml.MappingNode {
				continue // no object; kustomize refuses it by itself
			}
			asJSON, err := n.MarshalJSON()
			if err != nil {
				t.Fatalf("accepted, but kustomize has no JSON for %q: %v", text, err)
			}
			size += len(asJSON)
		}
		// Escaped, a byte is six; each node has quotes, a comma and a colon.
		if most := 64 * (len(text) + 2); size > most {
			t.Fatalf("%d bytes became %d", len(text), size)
		}
	})
}

// A path that is accepted is one of the tree, and where the text says.
func FuzzOverlayPath(f *testing.F) {
	for _, seed := range []string{
		"x.yaml", "../x", "../../../x", "./a/../b", "/etc", "~/x", `..\x`, "c:/x", "file://x", "https://x/y", "git@x:y", "a@b/c", "github.com/x/y",
		"x?ref=y", "a//b", "", ".", "..", "a/..", "a/../..", "...", "..a", "\x00", "é/x", "x\n", "GITHUB.com/a", "a b",
	} {
		f.Add("overlays/local/app", seed)
		f.Add(".", seed)
	}
	f.Fuzz(func(t *testing.T, dir, ref string) {
		if !fs.ValidPath(dir) {
			t.Skip()
		}
		got, err := resolve("fuzz", dir, ref)
		if err != nil {
			var refused *Refusal
			if !errors.As(err, &refused) || got != "" {
				t.Fatalf("%q with %v", got, err)
			}
			return
		}
		if !fs.ValidPath(got) || strings.ContainsAny(ref, ":?\\\n\x00") || path.IsAbs(ref) {
			t.Fatalf("%q in %q became %q", ref, dir, got)
		}
		// "/p" + dir is two levels at least: what leaves the tree shows.
		if full := path.Join("/tree/root", dir, ref); full != path.Join("/tree/root", got) {
			t.Fatalf("%q in %q is %q, not %q", ref, dir, full, got)
		}
	})
}
