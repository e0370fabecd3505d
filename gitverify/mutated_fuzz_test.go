package gitverify_test

import (
	"bytes"
	"testing"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// FuzzVerifyMutated: no other bytes than those of a signed commit verify in
// its place. A mutation replaces a part of the commit by something else.
func FuzzVerifyMutated(f *testing.F) {
	r := newRepository(f)
	s := scene{r, r.anchor()}
	good := s.sign(s.body(), sigstoretest.SignOptions{Stamp: true})
	tip := r.put("commit", good)
	v := r.verifier()
	r.wantYes(v, request(s.anchor, tip))
	f.Add(uint16(0), uint16(0), []byte("tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"))
	f.Add(uint16(len(good)), uint16(0), []byte("\n"))
	f.Add(uint16(300), uint16(1), []byte("A"))
	f.Add(uint16(1500), uint16(8), []byte("AAAAAAAA"))
	f.Fuzz(func(t *testing.T, at, length uint16, with []byte) {
		start := min(int(at), len(good))
		end := min(start+int(length), len(good))
		bad := bytes.Join([][]byte{good[:start], with, good[end:]}, nil)
		id := r.put("commit", bad)
		defer func() {
			if id != tip {
				delete(r.objects, id)
			}
		}()
		if _, err := v.Verify(t.Context(), r, request(s.anchor, id)); err == nil && !bytes.Equal(bad, good) {
			t.Fatalf("verified:\n%q", bad)
		}
	})
}
