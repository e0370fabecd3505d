package gitverify

import (
	"errors"
	"testing"
)

func TestTheSearchForVouchersIsBounded(t *testing.T) { // row C48
	t.Parallel()
	var m memo
	for steps := 0; ; steps++ {
		err := m.spend(1000)
		var no *Refusal
		if errors.As(err, &no) {
			if no.Code != codeUnit || steps < 50_000 {
				t.Errorf("refused with %v after %d steps", no, steps)
			}
			break
		}
		if err != nil || steps > maxVouching {
			t.Fatalf("no end after %d steps: %v", steps, err)
		}
	}
	m.forget()
	if err := m.spend(1000); err != nil {
		t.Errorf("the next unit should begin anew: %v", err)
	}
}
