package figures

import (
	"math"
	"strings"
	"testing"
)

func TestAnAimIsMetWhenTheWorstRoundMeetsIt(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		aim  Aim
		want string
	}{
		"all rounds are above":  {AtLeast("", 2, Series{2, 3}), "yes"},
		"one round is below":    {AtLeast("", 2, Series{1.9, 3}), "**no**"},
		"all rounds are below":  {AtMost("", 2, Series{1, 2}), "yes"},
		"one round is above":    {AtMost("", 2, Series{1, 2.1}), "**no**"},
		"nothing was measured":  {AtLeast("", 2, nil), "not measured"},
		"nothing is the target": {AtMost("", 0, Series{0, 0}), "yes"},
	} {
		if got := tc.aim.Met(); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

func TestSeriesTellTheMiddleWithItsEndsAndNothingOfNothing(t *testing.T) {
	t.Parallel()
	s := Series{3, 1, 2}
	if got := s.Spread("%.0f"); got != "2 (1–3)" {
		t.Errorf("three are %q", got)
	}
	if got := (Series{7}).Spread("%.0f"); got != "7" {
		t.Errorf("one is %q", got)
	}
	if got := (Series{}).Spread("%.0f"); got != "–" || !math.IsNaN((Series{}).Median()) {
		t.Errorf("nothing is %q", got)
	}
	hundred := Series{}
	for i := range 100 {
		hundred = append(hundred, float64(i))
	}
	if got := hundred.Quantile(0.99); got != 99 {
		t.Errorf("the 99th of a hundred is %v", got)
	}
	if got := s.Over(Series{1, 2}); len(got) != 2 || got[0] != 3 || got[1] != 0.5 {
		t.Errorf("divided: %v", got)
	}
}

func TestATableOfAimsHasAnAnswerForEach(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	Aims(&out, []Aim{AtMost("lost", 0, Series{0}), AtMost("ms", 15, Series{3, 16}), AtLeast("a second", 1000, nil)})
	for _, row := range []string{"| lost | ≤ 0 | 0 | yes |", "| ms | ≤ 15 | 16 (3–16) | **no** |", "| a second | ≥ 1000 | – | not measured |"} {
		if !strings.Contains(out.String(), row+"\n") {
			t.Errorf("%q is missing in\n%s", row, out.String())
		}
	}
}

func TestEverybodyIsFirstOnce(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "c"}
	for round, want := range []string{"abc", "bca", "cab", "abc"} {
		if got := strings.Join(Turn(names, round), ""); got != want {
			t.Errorf("round %d: %s, want %s", round, got, want)
		}
	}
}
