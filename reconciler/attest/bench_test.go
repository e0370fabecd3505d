package attest_test

import (
	"fmt"
	"strings"
	"testing"

	"millwright.dev/millwright/reconciler/attest"
)

// The factory of today: about 160 objects, 7.5 MB, most of it schemas.
func BenchmarkNewArtifact(b *testing.B) {
	var documents [][]byte
	for i := range 160 {
		var props strings.Builder
		for j := range 400 {
			fmt.Fprintf(&props, `,"field%d-%d":{"description":"one of the fields of a schema, number %d of object %d","type":"string"}`, i, j, j, i)
		}
		documents = append(documents, []byte(fmt.Sprintf(`{"apiVersion":"v1","kind":"X","metadata":{"name":"n%d"}%s}`, i, props.String())))
	}
	b.ReportAllocs()
	for b.Loop() {
		a, err := attest.NewArtifact(documents, origin)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(a.File())))
	}
}

// What a new revision waits for before its first write, beside one object that
// is created: three statements, signed by a key and verified.
func BenchmarkSignCompanions(b *testing.B) {
	key, err := attest.ParseKey(newKeyPEM(b), nil)
	if err != nil {
		b.Fatal(err)
	}
	signer := attest.KeyFile{Key: key}
	said, err := attest.NewVerdict(subjects(), repository, commitA, passed())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for range 3 {
			if _, err := signer.SignCompanion(b.Context(), said); err != nil {
				b.Fatal(err)
			}
		}
	}
}
