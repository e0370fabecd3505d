package attest_test

import (
	"errors"
	"strings"
	"testing"

	"millwright.dev/millwright/reconciler/attest"
)

// proven is a signed record with a list of some changes.
func proven(t *testing.T, key attest.Key) (attest.Bundle, attest.List) {
	t.Helper()
	var entries []attest.ListEntry
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		entries = append(entries, attest.ListEntry{APIVersion: "v1", Kind: "ConfigMap", Namespace: "tekton-pipelines", Name: name, Op: "Update", Declared: digest("1")})
	}
	entries = append(entries, attest.ListEntry{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole", Name: "a", Op: "Create", Declared: digest("2")})
	changes := list(t, entries...)
	p := predicate(t)
	p.Changes.Objects, p.Changes.Root = changes.Digest(), changes.Root()
	s, err := attest.NewStatement(subjects(), p)
	if err != nil {
		t.Fatal(err)
	}
	b, err := attest.KeyFile{Key: key}.Sign(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return b, changes
}

func TestAProofShowsWhatBecameOfOneObject(t *testing.T) {
	t.Parallel()
	key, other := newKey(t), newKey(t)
	bundle, changes := proven(t, key)
	for _, name := range []string{"ConfigMap/tekton-pipelines/a", "ConfigMap/tekton-pipelines/e", "ClusterRole.rbac.authorization.k8s.io/a"} {
		object, err := attest.ParseObject(name)
		if err != nil || object.String() != name {
			t.Fatalf("%s: %v, %v", name, object, err)
		}
		made, err := attest.NewProof(bundle.JSON, changes, object)
		if err != nil {
			t.Fatal(err)
		}
		data, err := made.Encode()
		if err != nil {
			t.Fatal(err)
		}
		p, err := attest.ParseProof(data)
		if err != nil {
			t.Fatal(err)
		}
		shown, err := p.Verify(nil, offline(key))
		if err != nil || shown.Object.Name != object.Name || shown.Object.Kind != object.Kind || shown.Record.Statement.Place().Sequence == 0 {
			t.Errorf("%s: %+v, %v", name, shown.Object, err)
		}
		var no *attest.Refusal
		if _, err := p.Verify(nil, offline(other)); !errors.As(err, &no) || no.Code != attest.CodeBundleInvalid {
			t.Errorf("%s by another key: %v", name, err)
		}
		for what, edit := range map[string]func(*attest.Inclusion){
			"another object": func(i *attest.Inclusion) { i.Line = strings.Replace(i.Line, `"name":"`, `"name":"z`, 1) },
			"another digest": func(i *attest.Inclusion) { i.Line = strings.Replace(i.Line, `"sha256:`, `"sha256:0`, 1) },
			"another place":  func(i *attest.Inclusion) { i.Index = (i.Index + 1) % i.Size },
			"a shorter way":  func(i *attest.Inclusion) { i.Hashes = i.Hashes[1:] },
			"no hash":        func(i *attest.Inclusion) { i.Hashes = append([]string{"x"}, i.Hashes[1:]...) },
		} {
			forged := p
			edit(&forged.Inclusion)
			if _, err := forged.Verify(nil, offline(key)); !errors.As(err, &no) || no.Code != attest.CodeRecordDigest {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
	}
	for _, name := range []string{"ConfigMap/tekton-pipelines/z", "ConfigMap/other/a", "ConfigMap.apps/tekton-pipelines/a", "ClusterRole/a"} {
		object, err := attest.ParseObject(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := attest.NewProof(bundle.JSON, changes, object); !errors.Is(err, attest.ErrNotListed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var no *attest.Refusal
	if _, err := attest.NewProof(bundle.JSON, list(t), attest.Object{Kind: "ConfigMap", Name: "a"}); !errors.As(err, &no) || no.Code != attest.CodeRecordDigest {
		t.Errorf("another list: %v", err)
	}
}

func TestWhatIsNoProofIsRefused(t *testing.T) {
	t.Parallel()
	for name, data := range map[string]string{
		"nothing": "", "no JSON": "x", "a field of ours that is none": `{"apiVersion":"millwright.dev/proof/v1","kind":"ObjectProof","more":1}`,
		"another kind": `{"apiVersion":"millwright.dev/proof/v1","kind":"Other","bundle":""}`, "another version": `{"apiVersion":"millwright.dev/proof/v2","kind":"ObjectProof"}`,
		"two": `{"apiVersion":"millwright.dev/proof/v1","kind":"ObjectProof"} {}`, "too much": strings.Repeat(" ", 3<<20),
	} {
		var no *attest.Refusal
		if _, err := attest.ParseProof([]byte(data)); !errors.As(err, &no) || no.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", "a", "/a", "a/", "A//b", "A/b/c/d"} {
		if o, err := attest.ParseObject(name); err == nil {
			t.Errorf("%q is %+v", name, o)
		}
	}
	if _, err := (attest.Proof{Bundle: "{}"}).Verify(nil, offline(newKey(t))); err == nil {
		t.Error("an empty bundle proves something")
	}
}
