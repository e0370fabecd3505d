package health_test

import (
	"strings"
	"testing"

	"millwright.dev/millwright/render/health"
)

func object(status map[string]any) map[string]any {
	return map[string]any{
		"metadata": map[string]any{"name": "x", "generation": int64(2)}, "status": status,
		"spec": map[string]any{"password": "hunter2", "list": long(2000)},
	}
}

func long(n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = int64(i)
	}
	return out
}

func TestAnObjectIsJudgedByItsExpressions(t *testing.T) {
	t.Parallel()
	const current = `object.status.phase == "Ready"`
	for name, row := range map[string]struct {
		current, failed string
		status          map[string]any
		want            health.Verdict
		says            string
	}{
		"works":                     {current, "", map[string]any{"phase": "Ready"}, health.Current, ""},
		"does not yet":              {current, "", map[string]any{"phase": "Starting"}, health.InProgress, "does not hold"},
		"has no such field yet":     {current, "", map[string]any{}, health.InProgress, "is not there"},
		"has no status yet":         {current, "", nil, health.InProgress, "is not there"},
		"failed":                    {current, `object.status.phase == "Broken"`, map[string]any{"phase": "Broken"}, health.Failed, "failed holds"},
		"failed cannot be told":     {"true", `object.status.nowhere == 1`, map[string]any{}, health.Current, ""},
		"an old generation":         {"true", "", map[string]any{"observedGeneration": int64(1)}, health.InProgress, "newest generation"},
		"the newest generation":     {"true", "", map[string]any{"observedGeneration": int64(2)}, health.Current, ""},
		"a condition of a list":     {`object.status.conditions.exists(c, c.type == "Ready" && c.status == "True")`, "", map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}, health.Current, ""},
		"no boolean after all":      {"object.status.phase", "", map[string]any{"phase": "Ready"}, health.InProgress, "no boolean"},
		"an expression without end": {"object.spec.list.all(a, object.spec.list.all(b, object.spec.list.all(c, a + b + c >= 0)))", "", map[string]any{}, health.InProgress, "costs too much"},
		"a value in its error":      {"int(object.spec.password) == 1", "", map[string]any{}, health.InProgress, "does not fit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := health.Compile("example.org/v1", "Mill", row.current, row.failed)
			if err != nil {
				t.Fatal(err)
			}
			got, says := c.Judge(object(row.status))
			if got != row.want || !strings.Contains(says, row.says) || strings.Contains(says, "hunter2") {
				t.Errorf("got %s %q, want %s %q", got, says, row.want, row.says)
			}
		})
	}
}

func TestAnExpressionThatCannotBeJudgedIsRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"empty":               "",
		"not an expression":   "object.status.",
		"an unknown variable": "self.status.ready",
		"an unknown function": "object.run()",
		"no boolean":          `"true"`,
		"too long":            strings.Repeat("true && ", 200) + "true",
		"nested without end":  strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500),
	} {
		if _, err := health.Compile("v1", "Pod", text, ""); err == nil {
			t.Errorf("%s: accepted as current", name)
		}
		if _, err := health.Compile("v1", "Pod", "true", text); err == nil && text != "" {
			t.Errorf("%s: accepted as failed", name)
		}
	}
	c, err := health.Compile("example.org/v1", "Mill", "true", "")
	if err != nil || !c.For("example.org/v1", "Mill") || c.For("example.org/v2", "Mill") || c.For("example.org/v1", "Wheel") {
		t.Error("a check is about one kind at one version", err)
	}
}
