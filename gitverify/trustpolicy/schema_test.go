package trustpolicy_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	"sigs.k8s.io/yaml"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

// validator reads the schema.
func validator(t *testing.T) func(text string) error {
	t.Helper()
	var schema spec.Schema
	if err := json.Unmarshal([]byte(trustpolicy.Schema()), &schema); err != nil {
		t.Fatal(err)
	}
	v := validate.NewSchemaValidator(&schema, nil, "", strfmt.Default)
	return func(text string) error {
		var value any
		if err := yaml.UnmarshalStrict([]byte(text), &value); err != nil {
			return err
		}
		return v.Validate(value).AsError()
	}
}

// TestTheSchemaAndTheDecoderAgree holds all rows of the decoder's tables against
// the schema: whatever the decoder takes, the schema takes; and what the decoder
// alone refuses is just what a schema cannot say.
func TestTheSchemaAndTheDecoderAgree(t *testing.T) {
	t.Parallel()
	check := validator(t)
	for _, good := range []string{whole(t), small, tidy} {
		if err := check(good); err != nil {
			t.Error(err)
		}
	}
	var alone []string
	for _, table := range []map[string]refusal{formRefusals(), identityRefusals(), ruleRefusals(), otherRefusals()} {
		for name, row := range table {
			if err := check(strings.Replace(whole(t), row.from, row.twin, 1)); err != nil {
				t.Errorf("%s: the twin: %v", name, err)
			}
			if check(strings.Replace(whole(t), row.from, row.to, 1)) == nil {
				alone = append(alone, name)
			}
		}
	}
	slices.Sort(alone)
	if diff := cmp.Diff(slices.Sorted(slices.Values(beyondSchema())), alone); diff != "" {
		t.Error(diff)
	}
}

// beyondSchema are the rows that only the decoder refuses, by why.
func beyondSchema() []string {
	return slices.Concat(
		[]string{ // what YAML is, not what it says
			"C16: a byte order mark",
			"C16: a comment that turns its text",
			"C16: a huge file",
			"C16: a line separator that ends a comment unseen",
			"C16: a lone carriage return that ends a comment unseen",
			"C16: a next line that ends a comment unseen",
			"C16: a paragraph separator that ends a comment unseen",
			"C16: a merge key",
			"C16: a tag",
			"C16: an anchor",
			"T8: a version in octal",
		},
		[]string{ // expressions, and letters by their class
			"B03: a back reference, which RE2 has not",
			"B03: a look-ahead, which RE2 has not",
			"B03: a pattern that is no expression",
			"B03: an anchor that may be left out",
			"B03: an end of a line by a later flag",
			"B03: an escaped $",
			"B03: an expression that explodes",
			"B03: branches with an anchor each",
			"B04: a branch that ignores case",
			"B04: a letter that stands for none",
			"B04: a letter that turns the text",
			"B04: a pattern that ignores case",
			"B04: a subject with a NUL",
			"B04: a subject with a space at its end",
			"B04: an invisible letter",
		},
		[]string{ // sizes of durations
			"B14: a skew of no time",
			"T11: an age of more than ten years",
			"T11: an age of seconds",
		},
		[]string{ // segments of paths
			"T12: an overlay that climbs",
			"a path that climbs",
			"a path with a dot segment",
			"two stars inside a segment",
		},
		[]string{ // keys by their content
			"T6: a PGP fingerprint of an SSH key",
			"T6: a fingerprint of another key",
			"T6: a key name twice",
			"T6: a key that is not armored",
			"T6: a key that is not base64",
			"T6: a key twice, in another spelling",
			"T6: a key with letters of its own",
			"T6: a key without its type",
			"T6: an SSH fingerprint of a PGP key",
		},
		[]string{ // what two fields say of each other
			"C17: a person with two identities, twice",
			"C17: one signer listed as two people",
			"T5: a role that nobody has",
			"T5: a role that only machines have",
			"T5: a threshold above the number of people",
			"T5: a threshold that counts a revoked person",
			"T5: an immense threshold",
			"T6: a revocation of no forge key",
			"T9: a revocation of nobody",
			"T9: an identity revoked twice",
			"a name twice",
			"a rule name twice",
			"a window of no time",
			"a window that ends before it begins",
		},
	)
}

// TestTheSchemaNamesEveryField: a field that only one of the two knows is a field
// that somebody forgot.
func TestTheSchemaNamesEveryField(t *testing.T) {
	t.Parallel()
	var schema map[string]any
	if err := json.Unmarshal([]byte(trustpolicy.Schema()), &schema); err != nil {
		t.Fatal(err)
	}
	var every any
	if err := yaml.Unmarshal([]byte(whole(t)), &every); err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	fields("", every, used)
	named := map[string]bool{}
	properties("", schema, named)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(named)), slices.Sorted(maps.Keys(used))); diff != "" {
		t.Error(diff)
	}
}

// fields lists the keys of a value with their places.
func fields(at string, value any, into map[string]bool) {
	switch v := value.(type) {
	case map[string]any:
		for key, child := range v {
			into[at+"."+key] = true
			fields(at+"."+key, child, into)
		}
	case []any:
		for _, child := range v {
			fields(at, child, into)
		}
	}
}

// properties lists the keys that a schema allows, with their places.
func properties(at string, schema map[string]any, into map[string]bool) {
	if items, ok := schema["items"].(map[string]any); ok {
		properties(at, items, into)
	}
	children, _ := schema["properties"].(map[string]any)
	for key, child := range children {
		into[at+"."+key] = true
		if child, ok := child.(map[string]any); ok {
			properties(at+"."+key, child, into)
		}
	}
}
