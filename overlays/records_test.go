package overlays_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	recordsController = "system:serviceaccount:millwright-system:millwright-controller"
	recordByOnly      = "records of applied revisions are written by the controller only"
	recordForever     = "an applied revision is a record: it never changes"
)

// record is an applied revision of a sequence.
func record(sequence int, more string) string {
	hash := "sha256:" + strings.Repeat("a", 64)
	return fmt.Sprintf(`{"apiVersion":"millwright.dev/v1alpha1","kind":"AppliedRevision","metadata":{"name":"factory-%010d","namespace":"millwright-system"%s},
		"spec":{"factory":"factory","sequence":%d,"commit":%q,"rendered":%q,"digest":%q,"bundle":"{}"}}`,
		sequence, more, sequence, strings.Repeat("c", 40), hash, hash)
}

// TestRecordsAreMadeByTheControllerAndNeverChange has the API server enforce what
// the install says about records, against those who have every right in RBAC.
func TestRecordsAreMadeByTheControllerAndNeverChange(t *testing.T) {
	mustKubectl(t, "", "apply", "--server-side", "-f", "../bases/millwright/crds")
	mustKubectl(t, "", "wait", "--for=condition=Established", "--timeout=60s", "crd/appliedrevisions.millwright.dev")
	mustKubectl(t, "", "apply", "--server-side", "-f", "../bases/millwright/namespace.yaml", "-f", "../bases/millwright/admission.yaml")
	defer mustKubectl(t, "", "delete", "-f", "../bases/millwright/admission.yaml")
	as := func(user, input string, args ...string) (string, error) {
		return kubectl(t, input, append([]string{"--as", user, "--as-group", "system:masters", "-n", "millwright-system"}, args...)...)
	}
	// A new policy is enforced a moment after it was made.
	deadline := time.Now().Add(time.Minute)
	for {
		out, err := as("mallory", record(9, ""), "create", "--dry-run=server", "-f", "-")
		if err != nil && strings.Contains(out, recordByOnly) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the policy is not enforced: %v %s", err, out)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if out, err := as(recordsController, record(1, ""), "create", "-f", "-"); err != nil {
		t.Fatalf("the controller may not make a record: %v %s", err, out)
	}
	patch := func(what string) []string {
		return []string{"patch", "appliedrevision", "factory-0000000001", "--type=merge", "-p", what}
	}
	status := func(what string) []string { return append(patch(what), "--subresource=status") }
	const another = `{"spec":{"bundle":"{\"forged\":true}"}}`
	for name, c := range map[string]struct {
		user, input string
		args        []string
		denied      string
	}{
		"a record by an administrator":              {"mallory", record(2, ""), []string{"create", "-f", "-"}, recordByOnly},
		"a record applied by an administrator":      {"mallory", record(2, ""), []string{"apply", "--server-side", "-f", "-"}, recordByOnly},
		"a record by a component's account":         {"system:serviceaccount:millwright-system:millwright-kyverno", record(2, ""), []string{"create", "-f", "-"}, recordByOnly},
		"a record by its like in another namespace": {"system:serviceaccount:default:millwright-controller", record(2, ""), []string{"create", "-f", "-"}, recordByOnly},
		"a record altered by an administrator":      {"mallory", "", patch(another), recordByOnly},
		"a record altered by the controller":        {recordsController, "", patch(another), recordForever},
		"a record replaced by the controller":       {recordsController, strings.Replace(record(1, ""), `"bundle":"{}"`, `"bundle":"{ }"`, 1), []string{"replace", "-f", "-"}, recordForever},
		"a label by an administrator":               {"mallory", "", patch(`{"metadata":{"labels":{"a":"b"}}}`), recordByOnly},
		"an outbox emptied by an administrator":     {"mallory", "", status(`{"status":{"stored":true,"reference":"elsewhere.example.org/x"}}`), recordByOnly},
		"the outbox by the controller":              {recordsController, "", status(`{"status":{"stored":true,"reference":"registry.example.org/x"}}`), ""},
	} {
		out, err := as(c.user, c.input, c.args...)
		switch {
		case c.denied == "" && err != nil:
			t.Errorf("%s is refused: %s", name, out)
		case c.denied != "" && (err == nil || !strings.Contains(out, c.denied) && !strings.Contains(out, recordForever)):
			t.Errorf("%s: %v %s, want %q", name, err, out, c.denied)
		}
	}
	out := mustKubectl(t, "", "get", "appliedrevisions", "-n", "millwright-system", "-o", "jsonpath={range .items[*]}{.metadata.name} {.spec.bundle} {.status.reference}{end}")
	if out != "factory-0000000001 {} registry.example.org/x" {
		t.Errorf("there are records: %s", out)
	}
}
