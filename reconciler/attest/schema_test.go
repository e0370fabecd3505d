package attest_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"

	"millwright.dev/millwright/reconciler/attest"
)

// schemas are the documented forms of the two predicates, in docs/schema.
func schemas() map[string]reflect.Type {
	return map[string]reflect.Type{
		"applied-revision.v1.json": reflect.TypeFor[attest.Predicate](),
		"enforcement.v1.json":      reflect.TypeFor[attest.Enforcement](),
	}
}

// words are the values that a field may have, where they are few.
func words() map[string][]string {
	return map[string][]string{
		"Predicate.trigger":   {attest.TriggerBootstrap, attest.TriggerCommit, attest.TriggerDrift, attest.TriggerSchedule},
		"Predicate.result":    {attest.ResultApplied, attest.ResultFailed, attest.ResultPartiallyApplied},
		"Enforcement.trigger": {attest.TriggerDrift, attest.TriggerSchedule},
		"Gap.reason":          {attest.GapAttempt, attest.GapMerged, attest.GapRestart, attest.GapSuspended, attest.GapUnobserved, attest.GapWatch},
		"Sighting.action":     {attest.ActionCorrected, attest.ActionFailed, attest.ActionFight, attest.ActionMutated, attest.ActionReported},
		"Commit.kind":         {"approval", "content", "mechanical", "merge"},
	}
}

// schemaOf describes a type as it is encoded.
func schemaOf(t *testing.T, typ reflect.Type) map[string]any {
	t.Helper()
	switch {
	case typ == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case typ.Kind() == reflect.Pointer:
		return schemaOf(t, typ.Elem())
	case typ.Kind() == reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t, typ.Elem())}
	case typ.Kind() == reflect.Struct:
		return objectSchema(t, typ)
	}
	names := map[reflect.Kind]string{reflect.String: "string", reflect.Int: "integer", reflect.Int64: "integer", reflect.Bool: "boolean"}
	name, ok := names[typ.Kind()]
	if !ok {
		t.Fatalf("%s has no schema", typ)
	}
	return map[string]any{"type": name}
}

func objectSchema(t *testing.T, typ reflect.Type) map[string]any {
	t.Helper()
	properties, required := map[string]any{}, []any{}
	for field := range typ.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		one := schemaOf(t, field.Type)
		if some := words()[typ.Name()+"."+name]; some != nil {
			one["enum"] = some
		}
		properties[name] = one
		if options == "" {
			required = append(required, name)
		}
	}
	return map[string]any{"type": "object", "additionalProperties": false, "properties": properties, "required": required}
}

func TestTheSchemasAreThoseOfTheTypesAndTakeTheExamples(t *testing.T) {
	t.Parallel()
	examples := map[string]attest.Statement{"applied-revision.v1.json": statement(t), "enforcement.v1.json": enforced(t, enforcement())}
	for _, name := range slices.Sorted(maps.Keys(schemas())) {
		form := schemaOf(t, schemas()[name])
		form["$schema"] = "http://json-schema.org/draft-07/schema#"
		form["$id"] = "https://millwright.dev/schema/" + name
		form["title"] = "Predicate " + examples[name].PredicateType
		want, err := json.MarshalIndent(form, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, '\n')
		path := filepath.Join("..", "..", "docs", "schema", name)
		if *update {
			if err := os.WriteFile(path, want, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s: run the test with -update:\n%s", path, diff)
		}
		takes(t, got, examples[name])
	}
}

// takes validates an example with a validator that is not ours, and a few
// changes of it that no schema may take.
func takes(t *testing.T, schema []byte, example attest.Statement) {
	t.Helper()
	var s spec.Schema
	if err := json.Unmarshal(schema, &s); err != nil {
		t.Fatal(err)
	}
	data, err := example.Encode()
	if err != nil {
		t.Fatal(err)
	}
	valid := func(change func(map[string]any)) bool {
		var document struct {
			Predicate map[string]any `json:"predicate"`
		}
		if err := json.Unmarshal(data, &document); err != nil {
			t.Fatal(err)
		}
		change(document.Predicate)
		return validate.NewSchemaValidator(&s, nil, "", strfmt.Default).Validate(document.Predicate).IsValid()
	}
	if !valid(func(map[string]any) {}) {
		t.Errorf("the schema refuses the example of %s", example.PredicateType)
	}
	for name, change := range map[string]func(map[string]any){
		"a field that nobody knows": func(p map[string]any) { p["extra"] = "x" },
		"no sequence":               func(p map[string]any) { delete(p, "sequence") },
		"a trigger that is none":    func(p map[string]any) { p["trigger"] = "whim" },
		"a number as text":          func(p map[string]any) { p["sequence"] = "1" },
	} {
		if valid(change) {
			t.Errorf("the schema of %s takes %s", example.PredicateType, name)
		}
	}
}
