package overlays_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	historyByOnly = "records of applied revisions are removed by the controller only"
	historyStored = "this record is in the cluster only"
	historyNewest = "the newest ten records stay in the cluster"
)

// TestRecordsLeaveTheClusterOnlyWhenTheyMay has the API server enforce what the
// install says about the removal of records, against those who have every right in
// RBAC, and against the controller.
func TestRecordsLeaveTheClusterOnlyWhenTheyMay(t *testing.T) {
	mustKubectl(t, "", "apply", "--server-side", "-f", "../bases/millwright/crds")
	mustKubectl(t, "", "wait", "--for=condition=Established", "--timeout=60s", "crd/appliedrevisions.millwright.dev", "crd/factories.millwright.dev")
	mustKubectl(t, "", "create", "namespace", "history")
	mustKubectl(t, `{"apiVersion":"millwright.dev/v1alpha1","kind":"Factory","metadata":{"name":"factory","namespace":"history"},"spec":{
		"source":{"url":"https://git.example.org/factory.git","ref":"refs/heads/main"},"verify":{"anchor":"`+strings.Repeat("a", 40)+`"},
		"environment":"local","attest":{"signer":"Key"}}}`, "create", "-f", "-")
	mustKubectl(t, "", "patch", "factory", "factory", "-n", "history", "--type=merge", "--subresource=status", "-p", fmt.Sprintf(
		`{"status":{"applied":{"revision":"main","commit":%q,"rendered":"sha256:%s","objects":1,"time":"2026-01-01T00:00:00Z","sequence":20}}}`,
		strings.Repeat("c", 40), strings.Repeat("a", 64)))
	for _, sequence := range []int{1, 9, 10, 11, 20} {
		mustKubectl(t, strings.ReplaceAll(record(sequence, ""), "millwright-system", "history"), "create", "-f", "-")
	}
	for _, sequence := range []int{9, 10, 11, 20} {
		mustKubectl(t, "", "patch", "appliedrevision", recordName(sequence), "-n", "history", "--type=merge", "--subresource=status", "-p", `{"status":{"stored":true}}`)
	}
	// A record of a factory that is not this one's, in the same namespace.
	mustKubectl(t, strings.NewReplacer("millwright-system", "history", `"factory":"factory"`, `"factory":"other"`, "factory-0", "other-0").Replace(record(1, "")), "create", "-f", "-")
	mustKubectl(t, "", "apply", "--server-side", "-f", "../bases/millwright/namespace.yaml", "-f", "../bases/millwright/admission.yaml")
	defer mustKubectl(t, "", "delete", "-f", "../bases/millwright/admission.yaml")
	as := func(user, name string, args ...string) (string, error) {
		return kubectl(t, "", append([]string{"--as", user, "--as-group", "system:masters", "-n", "history", "delete", "appliedrevision", name}, args...)...)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		out, err := as("mallory", recordName(1), "--dry-run=server")
		if err != nil && strings.Contains(out, historyByOnly) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the policy is not enforced: %v %s", err, out)
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, c := range []struct{ what, user, name, denied string }{
		{"an old one by an administrator", "mallory", recordName(9), historyByOnly},
		{"an old one by a component's account", "system:serviceaccount:millwright-system:millwright-kyverno", recordName(9), historyByOnly},
		{"one that is nowhere else", recordsController, recordName(1), historyStored},
		{"one of the newest ten", recordsController, recordName(11), historyNewest},
		{"the newest", recordsController, recordName(20), historyNewest},
		{"another factory's that is nowhere else", recordsController, "other-0000000001", historyStored},
		{"an old one by the controller", recordsController, recordName(9), ""},
		{"the newest that may go", recordsController, recordName(10), ""},
	} {
		out, err := as(c.user, c.name)
		switch {
		case c.denied == "" && err != nil:
			t.Errorf("%s is refused: %s", c.what, out)
		case c.denied != "" && (err == nil || !strings.Contains(out, c.denied)):
			t.Errorf("%s: %v %s, want %q", c.what, err, out, c.denied)
		}
	}
	// Without the Factory nobody can say which are the newest.
	mustKubectl(t, "", "delete", "factory", "factory", "-n", "history")
	if out, err := as(recordsController, recordName(11)); err == nil {
		t.Errorf("a record left without its Factory: %s", out)
	}
}

func recordName(sequence int) string { return fmt.Sprintf("factory-%010d", sequence) }
