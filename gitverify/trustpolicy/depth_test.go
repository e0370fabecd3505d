package trustpolicy

import (
	"regexp"
	"strings"
	"testing"

	yaml "go.yaml.in/yaml/v3"
)

// The conditions below are asked a second time, since everything hangs on them:
// Decode lets nothing come as far. Each is asked here alone.

func TestB03APatternNamesWholeSubjectsWhateverItsAnchors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"^bob@x$": true, "bob@x": true, "ob@x": false, "bob@": false, "o": false, "^(bob|alice)@x$": true, "alice": false,
	} {
		id := &Identity{Name: "bob", Issuer: "i", SubjectPattern: text, pattern: regexp.MustCompile(text)}
		if id.names("bob@x") != want {
			t.Errorf("%s: %t", text, !want)
		}
	}
}

func TestB04AnIdentityWithoutASubjectNamesNobody(t *testing.T) {
	t.Parallel()
	p := &Policy{Identities: []Identity{{Name: "unread", Issuer: "i", SubjectPattern: "^bob@x$"}, {Name: "bob", Issuer: "i", Subject: "bob@x"}}}
	if id, err := p.Identify("i", "", false); err == nil {
		t.Errorf("nobody is %q", id.Name)
	}
	if id, err := p.Identify("i", "bob@x", false); err != nil || id.Name != "bob" {
		t.Errorf("bob: %v, %v", id, err)
	}
}

func TestC16AnAliasIsRefusedWithoutItsAnchor(t *testing.T) {
	t.Parallel()
	name := func(kind yaml.Kind) *yaml.Node {
		key := &yaml.Node{Kind: yaml.ScalarNode, Tag: tagText, Value: "name"}
		value := &yaml.Node{Kind: kind, Tag: tagText, Value: "x"}
		return &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{key, value}}
	}
	if bad := checkNode(name(yaml.ScalarNode), 1); bad != nil {
		t.Error(bad)
	}
	if bad := checkNode(name(yaml.AliasNode), 1); bad == nil || !strings.Contains(bad.Detail, "anchors and aliases") {
		t.Errorf("got %v", bad)
	}
}
