package attest_test

import (
	"errors"
	"fmt"
	"testing"

	"millwright.dev/millwright/reconciler/attest"
)

func entries(n int) []attest.ListEntry {
	var out []attest.ListEntry
	for i := range n {
		out = append(out, attest.ListEntry{APIVersion: "v1", Kind: "ConfigMap", Namespace: "a", Name: fmt.Sprintf("c%04d", i), Op: "Create", Declared: digest("a")})
	}
	return out
}

func TestOneResultIsShownWithoutTheOthers(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 3, 7, 8, 9, 161} {
		all := entries(n)
		list, err := attest.NewList(all)
		if err != nil {
			t.Fatal(err)
		}
		root := list.Root()
		for _, e := range all {
			p, found, err := list.Prove(e)
			if err != nil || !found {
				t.Fatalf("of %d: %v", n, err)
			}
			if err := p.Verify(root); err != nil {
				t.Fatalf("of %d: %v", n, err)
			}
			var no *attest.Refusal
			other := p
			other.Line = other.Line[:len(other.Line)-2] + `b"`
			if err := other.Verify(root); !errors.As(err, &no) {
				t.Fatalf("another line is in it too: %v", err)
			}
			if n > 1 {
				moved := p
				moved.Index = (p.Index + 1) % p.Size
				if err := moved.Verify(root); !errors.As(err, &no) {
					t.Fatalf("of %d: it is in two places: %v", n, err)
				}
			}
		}
		stranger := all[0]
		stranger.Name = "stranger"
		if _, found, err := list.Prove(stranger); found || err != nil {
			t.Errorf("a stranger is in it: %v", err)
		}
	}
}

// The roots are those of RFC 6962, which anybody can compute.
func TestTheRootOfAListIsThatOfTheStandard(t *testing.T) {
	t.Parallel()
	list, err := attest.NewList(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := list.Root(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"; got != want {
		t.Errorf("the root of nothing is %s, want %s", got, want)
	}
	one, err := attest.NewList(entries(1))
	if err != nil {
		t.Fatal(err)
	}
	line := one.Content()[:len(one.Content())-1]
	if got, want := one.Root(), attest.Digest(append([]byte{0}, line...)); got != want {
		t.Errorf("the root of one line is %s, want %s", got, want)
	}
}
