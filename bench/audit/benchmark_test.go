package main

import (
	"io"
	"strings"
	"testing"
)

func TestTheFactoryThatIsMeasuredAuditsAsAWholeOne(t *testing.T) {
	t.Parallel()
	b := &benchmark{config: config{revisions: 5, rounds: 1}, dir: t.TempDir(), log: io.Discard, results: map[string][]float64{}}
	if err := b.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, render := range []bool{false, true} {
		work := b.task
		work.Render = render
		m, err := work.measure(t.Context())
		if err != nil || m.Answer != "yes" || m.Records != 5 || m.Seconds <= 0 || m.PeakMiB <= 0 {
			t.Errorf("measured %+v: %v", m, err)
		}
	}
	if _, _, err := b.limit.run(t.Context()); err != nil {
		t.Error(err)
	}
	b.task.Head = strings.Replace(b.task.Head, "sha256:", "sha256:0", 1)
	if m, err := b.task.measure(t.Context()); err != nil || m.Answer != "no" {
		t.Errorf("with another head: %+v: %v", m, err)
	}
	var out strings.Builder
	b.table(&out)
	if !strings.Contains(out.String(), "5 revisions") {
		t.Errorf("the table:\n%s", out.String())
	}
}
