package gitverify_test

import (
	"encoding/json"
	"testing"

	"millwright.dev/millwright/gitverify"
)

// trusted merges the parts of trusted roots.
func trusted(t *testing.T, roots ...[]byte) gitverify.TrustedRoot {
	t.Helper()
	all := map[string]any{}
	for _, data := range roots {
		var one map[string]any
		if err := json.Unmarshal(data, &one); err != nil {
			t.Fatal(err)
		}
		for key, value := range one {
			if list, ok := value.([]any); ok {
				before, _ := all[key].([]any)
				all[key] = append(before, list...)
			} else {
				all[key] = value
			}
		}
	}
	data, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	root, err := gitverify.ParseTrustedRoot(data)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// roots are the trusted root of the repository's Sigstore, and that of a stranger.
func (r *repository) roots() (own, foreign []byte) {
	r.t.Helper()
	own, err := r.virtual.TrustedRootJSON()
	if err != nil {
		r.t.Fatal(err)
	}
	if foreign, err = r.virtual.ForeignTrustedRootJSON(); err != nil {
		r.t.Fatal(err)
	}
	return own, foreign
}

func TestARotatedKeyVerifiesAgainOnlyWhatRestedOnIt(t *testing.T) { // row B28
	t.Parallel()
	r := newRepository(t)
	own, foreign := r.roots()
	anchor := r.anchor()
	tip := anchor
	for range 10 {
		tip = r.commit("c", files("a", string(tip)), tip)
	}
	v, err := gitverify.New(trusted(t, own), gitverify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.wantYes(v, request(anchor, tip))

	// A key more: nothing that was accepted rests on anything that went.
	if err := v.Replace(trusted(t, own, foreign)); err != nil {
		t.Fatal(err)
	}
	before := r.reads
	r.wantYes(v, request(anchor, tip))
	if n := r.reads - before; n > 2 {
		t.Errorf("read %d objects", n)
	}
	// The old key gone: what rested on it does not hold any more.
	if err := v.Replace(trusted(t, foreign)); err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(t.Context(), r, request(anchor, tip))
	if code := codeOf(err); code != "log/unknown" {
		t.Errorf("got %v", err)
	}
	// And back: everything is proved again.
	if err := v.Replace(trusted(t, own)); err != nil {
		t.Fatal(err)
	}
	r.wantYes(v, request(anchor, tip))
	if err := v.Replace(gitverify.TrustedRoot{}); err == nil {
		t.Error("nothing was taken for a trusted root")
	}
}
