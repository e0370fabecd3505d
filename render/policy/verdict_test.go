package policy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"millwright.dev/millwright/render/policy"
	"millwright.dev/millwright/render/policy/policytest"
)

func factoryPolicy(t *testing.T, file string) json.RawMessage {
	t.Helper()
	data, err := os.ReadFile("../../bases/kyverno-policies/" + file)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := yaml.YAMLToJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func secret(kind string) json.RawMessage {
	return json.RawMessage(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s","namespace":"factory-catalog"},"type":"` + kind + `","data":{"token":"aHVudGVyMg=="}}`)
}

func TestARevisionThatKeepsThePoliciesPassesAndItsTwinDoesNot(t *testing.T) {
	t.Parallel()
	r := policytest.Runner(t)
	k15 := factoryPolicy(t, "k15-no-static-credentials.yaml")

	good, err := r.Test(t.Context(), []json.RawMessage{k15, secret("Opaque")})
	if err != nil {
		t.Fatal(err)
	}
	if refusal := good.Refusal(); refusal != nil {
		t.Errorf("refused: %v", refusal)
	}
	want := []policy.PolicyResult{{Name: "mw-k15-no-static-credentials", Kind: "ValidatingPolicy", Digest: policy.Digest(k15), Matched: 1}}
	if diff := cmp.Diff(want, good.Policies); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	if good.Objects != 2 || !strings.Contains(good.Engine, "kyverno v1.") || !strings.Contains(good.Engine, "tekton v1.") {
		t.Errorf("verdict on %d objects by %q", good.Objects, good.Engine)
	}

	t.Logf("isolation %s, engine %s", good.Isolation, good.Engine)

	bad, err := r.Test(t.Context(), []json.RawMessage{k15, secret("kubernetes.io/service-account-token")})
	if err != nil {
		t.Fatal(err)
	}
	refusal := bad.Refusal()
	if refusal == nil {
		t.Fatal("a token in a Secret passes")
	}
	if refusal.Reason != policy.ReasonViolation || refusal.Code != policy.CodeViolated || refusal.Object.Name != "s" || !strings.Contains(refusal.Error(), "POL-K15") {
		t.Errorf("refusal %+v", refusal)
	}
}

func TestAPolicyThatDoesNotCompileRefusesTheRevision(t *testing.T) {
	t.Parallel()
	r := policytest.Runner(t)
	broken := json.RawMessage(strings.Replace(string(factoryPolicy(t, "k15-no-static-credentials.yaml")), "object.kind !=", "object.kind !!=", 1))
	v, err := r.Test(t.Context(), []json.RawMessage{broken})
	if err != nil {
		t.Fatal(err)
	}
	refusal := v.Refusal()
	if refusal == nil || refusal.Reason != policy.ReasonInvalid || refusal.Object.Name != "mw-k15-no-static-credentials" {
		t.Errorf("refusal %+v", refusal)
	}
}

func TestAnInvalidTaskRefusesTheRevisionWithACodeOfItsOwn(t *testing.T) {
	t.Parallel()
	v, err := policytest.Runner(t).Test(t.Context(), []json.RawMessage{
		json.RawMessage(`{"apiVersion":"tekton.dev/v1","kind":"Task","metadata":{"name":"t","namespace":"factory-catalog"},"spec":{}}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	if refusal := v.Refusal(); refusal == nil || refusal.Code != policy.CodeTekton {
		t.Errorf("refusal %+v", refusal)
	}
}

func TestManifestsWithoutPoliciesSaySo(t *testing.T) {
	t.Parallel()
	v, err := policytest.Runner(t).Test(t.Context(), []json.RawMessage{secret("Opaque")})
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Policies) != 0 || v.Objects != 1 || v.Refusal() != nil {
		t.Errorf("verdict %+v", v)
	}
}

func TestPoliciesThatDecideOnlyInTheClusterAreNamedAsNotTested(t *testing.T) {
	t.Parallel()
	v, err := policytest.Runner(t).Test(t.Context(), []json.RawMessage{
		json.RawMessage(`{"apiVersion":"policies.kyverno.io/v1","kind":"ImageValidatingPolicy","metadata":{"name":"i"},"spec":{}}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Policies) != 1 || v.Policies[0].NotTested == "" || v.Policies[0].Matched != 0 {
		t.Errorf("policies %+v", v.Policies)
	}
}

// A policy writes the messages that people read. It must not be able to write a
// Secret's value there, nor to move the reader's cursor.
func TestAMessageCarriesNoSecretAndNoControlCharacter(t *testing.T) {
	t.Parallel()
	const spy = `{"apiVersion":"policies.kyverno.io/v1","kind":"ValidatingPolicy","metadata":{"name":"spy"},"spec":{
	  "matchConstraints":{"resourceRules":[{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["secrets"]}]},
	  "validations":[{"expression":"false","messageExpression":"'\\u001b[2J' + string(object.data)"}]}}`
	v, err := policytest.Runner(t).Test(t.Context(), []json.RawMessage{json.RawMessage(spy), secret("Opaque")})
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Violations) != 1 {
		t.Fatalf("verdict %+v", v)
	}
	if m := v.Violations[0].Message; strings.Contains(m, "aHVudGVyMg") || strings.Contains(m, "hunter2") || strings.Contains(m, "\x1b") {
		t.Errorf("message %q", m)
	}
}

// The engine counts what an expression costs; a deadline stands behind it.
func TestAPolicyThatCostsTooMuchRefusesTheRevision(t *testing.T) {
	t.Parallel()
	expression := "true"
	for i := range 12 {
		expression = fmt.Sprintf("[0,1,2,3,4,5,6,7,8,9].all(v%d, %s)", i, expression)
	}
	bomb := fmt.Sprintf(`{"apiVersion":"policies.kyverno.io/v1","kind":"ValidatingPolicy","metadata":{"name":"bomb"},"spec":{
	  "matchConstraints":{"resourceRules":[{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["secrets"]}]},
	  "validations":[{"expression":%q}]}}`, expression)
	v, err := policytest.Runner(t).Test(t.Context(), []json.RawMessage{json.RawMessage(bomb), secret("Opaque")})
	if err != nil {
		t.Fatal(err)
	}
	if refusal := v.Refusal(); refusal == nil || !strings.Contains(refusal.Detail, "cost limit") {
		t.Errorf("refusal %+v", refusal)
	}
}
