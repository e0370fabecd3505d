package trustpolicy_test

import (
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

func TestT4APatternMatchesWholeSegments(t *testing.T) {
	t.Parallel()
	for pattern, row := range map[string]struct{ yes, no []string }{
		"**":          {[]string{"a", "a/b", ".git/x", "ä"}, nil},
		"*":           {[]string{"a", "*", ".a"}, []string{"a/b"}},
		"a":           {[]string{"a"}, []string{"A", "a/b", "b", "aa", "a ", ""}},
		"a/**":        {[]string{"a", "a/b", "a/b/c"}, []string{"ab", "ab/c", "b/a", "A/b"}},
		"a/*":         {[]string{"a/b"}, []string{"a", "a/b/c"}},
		"a/*/**":      {[]string{"a/b", "a/b/c"}, []string{"a"}},
		"**/b":        {[]string{"b", "a/b", "a/a/b"}, []string{"a/b/c", "ab"}},
		"**/*.yaml":   {[]string{"x.yaml", "a/x.yaml", ".yaml"}, []string{"x.yml", "x.yaml/y"}},
		"a/**/b":      {[]string{"a/b", "a/x/b", "a/x/y/b", "a/b/b"}, []string{"a", "b", "a/x"}},
		"**/a/**/b":   {[]string{"a/b", "x/a/y/b", "a/a/b/b"}, []string{"b/a", "a", "b"}},
		"**/**":       {[]string{"a", "a/b"}, nil},
		"a*b*c":       {[]string{"abc", "aXbYc", "abcbc"}, []string{"ab", "acb", "abcd"}},
		"[ab]?{c,d}":  {[]string{"[ab]?{c,d}"}, []string{"ac", "a1c", "b2d"}},
		"é":           {[]string{"é"}, []string{"e\u0301"}},
		"trust/a.yml": {[]string{"trust/a.yml"}, []string{"trust/axyml", "trust/a.yml/"}},
	} {
		for _, text := range row.yes {
			if !trustpolicy.Pattern(pattern).Match(text) {
				t.Errorf("%q does not match %q", pattern, text)
			}
		}
		for _, text := range row.no {
			if trustpolicy.Pattern(pattern).Match(text) {
				t.Errorf("%q matches %q", pattern, text)
			}
		}
	}
}

// slowMatch is the definition of a pattern, written without regard to time.
func slowMatch(pattern, text []string) bool {
	switch {
	case len(pattern) == 0:
		return len(text) == 0
	case pattern[0] == "**":
		return slowMatch(pattern[1:], text) || len(text) > 0 && slowMatch(pattern, text[1:])
	case len(text) == 0:
		return false
	}
	ok, err := path.Match(pattern[0], text[0])
	return err == nil && ok && slowMatch(pattern[1:], text[1:])
}

func TestT4PatternsMatchAsTheirDefinitionSays(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	words := func(choice []string) []string {
		return slices.Collect(func(yield func(string) bool) {
			for range 1 + random.IntN(6) {
				if !yield(choice[random.IntN(len(choice))]) {
					return
				}
			}
		})
	}
	hits := 0
	for range 50_000 {
		pattern, text := words([]string{"a", "b", "*", "**", "**", "a*", "*b", "a*b*"}), words([]string{"a", "b", "ab", "ba", "aab"})
		want := slowMatch(pattern, text)
		if got := trustpolicy.Pattern(strings.Join(pattern, "/")).Match(strings.Join(text, "/")); got != want {
			t.Fatalf("%v matches %v: %t", pattern, text, got)
		}
		if want {
			hits++
		}
	}
	if hits < 5_000 || hits > 45_000 {
		t.Errorf("%d of 50000 matched: the two were hardly compared", hits)
	}
}

func TestAHostilePathTakesNoTime(t *testing.T) {
	t.Parallel()
	pattern := trustpolicy.Pattern(strings.Repeat("**/a*a*a*/", 50) + "b")
	start := time.Now()
	if pattern.Match(strings.TrimSuffix(strings.Repeat("aaaaaaaaa/", 400), "/")) {
		t.Error("matched")
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %s", took)
	}
}

func TestT12ObjectsAreSelectedByKindGroupNamespaceAndName(t *testing.T) {
	t.Parallel()
	type object = trustpolicy.Object
	deployment := object{"apps", "Deployment", "tekton-chains", "controller"}
	for name, row := range map[string]struct {
		selector trustpolicy.ObjectSelector
		object   object
		want     bool
	}{
		"kind and group":               {trustpolicy.ObjectSelector{Kinds: []string{"Deployment.apps"}}, deployment, true},
		"another group":                {trustpolicy.ObjectSelector{Kinds: []string{"Deployment.extensions"}}, deployment, false},
		"no group is the core group":   {trustpolicy.ObjectSelector{Kinds: []string{"Deployment"}}, deployment, false},
		"a core object":                {trustpolicy.ObjectSelector{Kinds: []string{"Secret"}}, object{"", "Secret", "a", "b"}, true},
		"a core kind of another group": {trustpolicy.ObjectSelector{Kinds: []string{"Secret"}}, object{"evil.example", "Secret", "a", "b"}, false},
		"every kind":                   {trustpolicy.ObjectSelector{Kinds: []string{"*"}}, deployment, true},
		"every kind of a group":        {trustpolicy.ObjectSelector{Kinds: []string{"*.apps"}}, deployment, true},
		"a namespace":                  {trustpolicy.ObjectSelector{Namespaces: []string{"tekton-*"}}, deployment, true},
		"another namespace":            {trustpolicy.ObjectSelector{Namespaces: []string{"tekton"}}, deployment, false},
		"a name":                       {trustpolicy.ObjectSelector{Names: []string{"other", "contr*"}}, deployment, true},
		"kind but not name":            {trustpolicy.ObjectSelector{Kinds: []string{"Deployment.apps"}, Names: []string{"other"}}, deployment, false},
		"an object of the cluster":     {trustpolicy.ObjectSelector{Namespaces: []string{"*"}}, object{"", "Namespace", "", "a"}, true},
		"K22: a webhook":               {trustpolicy.ObjectSelector{Set: "webhooks"}, object{"admissionregistration.k8s.io", "MutatingWebhookConfiguration", "", "kyverno"}, true},
		"not in this set":              {trustpolicy.ObjectSelector{Set: "rbac"}, object{"admissionregistration.k8s.io", "MutatingWebhookConfiguration", "", "kyverno"}, false},
		"an unknown set":               {trustpolicy.ObjectSelector{Set: "all"}, deployment, false},
	} {
		rule := &trustpolicy.Rule{Objects: []trustpolicy.ObjectSelector{{Names: []string{"never"}}, row.selector}}
		if got := rule.Selects(row.object); got != row.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if (&trustpolicy.Rule{Paths: []trustpolicy.Pattern{"**"}}).Selects(deployment) {
		t.Error("a rule about paths selects an object")
	}
}

func TestT12TheGuardsAreInTheirSets(t *testing.T) {
	t.Parallel()
	guards := &trustpolicy.Rule{Objects: []trustpolicy.ObjectSelector{{Set: "guards"}}}
	for set, objects := range map[string][]trustpolicy.Object{
		"admission-policies": {
			{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicy", Name: "mw-k17-status-integrity"},
			{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicyBinding", Name: "mw-k21-no-exceptions"},
			{Group: "policies.kyverno.io", Kind: "ValidatingPolicy", Name: "mw-k15-no-static-credentials"},
			{Group: "kyverno.io", Kind: "PolicyException", Namespace: "kyverno", Name: "x"},
			{Kind: "ConfigMap", Namespace: "kyverno", Name: "kyverno"},
			{Kind: "Namespace", Name: "factory-catalog"},
		},
		"webhooks":        {{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: "x"}},
		"rbac":            {{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: "x"}, {Kind: "ServiceAccount", Namespace: "a", Name: "x"}},
		"feature-flags":   {{Kind: "ConfigMap", Namespace: "tekton-pipelines", Name: "feature-flags"}, {Kind: "ConfigMap", Namespace: "tekton-chains", Name: "chains-config"}},
		"trust-roots":     {{Kind: "ConfigMap", Namespace: "spire-system", Name: "spire-bundle"}, {Kind: "Secret", Namespace: "tuf-system", Name: "x"}, {Group: "millwright.dev", Kind: "Factory", Name: "local"}},
		"signer-settings": {{Group: "spire.spiffe.io", Kind: "ClusterSPIFFEID", Name: "tekton-chains"}, {Group: "apps", Kind: "StatefulSet", Namespace: "spire-server", Name: "x"}},
	} {
		rule := &trustpolicy.Rule{Objects: []trustpolicy.ObjectSelector{{Set: set}}}
		for _, o := range objects {
			if !rule.Selects(o) || !guards.Selects(o) {
				t.Errorf("%s: %+v is not guarded", set, o)
			}
		}
	}
	for _, o := range []trustpolicy.Object{
		{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "web"},
		{Kind: "ConfigMap", Namespace: "shop", Name: "colours"},
		{Kind: "Pod", Namespace: "shop", Name: "x"},
		{Group: "tekton.dev", Kind: "Task", Namespace: "factory-catalog", Name: "build"},
	} {
		if guards.Selects(o) {
			t.Errorf("%+v is a guard, so that everything would be one", o)
		}
	}
}
