package attest_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"millwright.dev/millwright/reconciler/attest"
)

// text is a document that says its digest.
type text []byte

func (t text) Digest() string             { return attest.Digest(t) }
func (t text) AppendJSON(b []byte) []byte { return append(b, t...) }

func texts(documents [][]byte) []attest.Document {
	out := make([]attest.Document, 0, len(documents))
	for _, doc := range documents {
		out = append(out, text(doc))
	}
	return out
}

// What a packer remembers changes nothing but the time: after any revisions before,
// an artifact is what it is for one who packs it for the first time.
func TestAPackerThatRemembersPacksTheSame(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var packer attest.Packer
	documents := make([][]byte, 30)
	for round := range 20 {
		for i := range documents {
			if round == 0 || random.IntN(10) == 0 {
				documents[i] = []byte(fmt.Sprintf(`{"kind":"X","x":"%s"}`, strings.Repeat(fmt.Sprint(random.Uint64()), random.IntN(200))))
			}
		}
		some := documents[:random.IntN(len(documents)+1)]
		again, err := packer.Pack(texts(some), origin)
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := attest.NewArtifact(some, origin)
		if err != nil {
			t.Fatal(err)
		}
		if again.Digest() != fresh.Digest() || again.ManifestsDigest() != fresh.ManifestsDigest() || !bytes.Equal(again.File(), fresh.File()) {
			t.Fatalf("round %d: %s remembered, %s anew", round, again.Digest(), fresh.Digest())
		}
	}
}

// A document that may not be packed is refused whatever was packed before.
func TestAPackerRefusesWhatItWouldRefuseAnew(t *testing.T) {
	t.Parallel()
	var packer attest.Packer
	if _, err := packer.Pack(texts(documents), origin); err != nil {
		t.Fatal(err)
	}
	secret := []byte(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","namespace":"b"},"data":{"k":"eA=="}}`)
	for range 2 {
		if _, err := packer.Pack(texts(append(slices.Clip(documents), secret)), origin); err == nil {
			t.Error("a Secret with values was packed")
		}
	}
}

// The artifact is a sound image to those who check all of it, and its layer is a
// gzipped tar with one file to those who unpack it.
func TestTheArtifactIsSoundForOthers(t *testing.T) {
	t.Parallel()
	host, a := serveRegistry(t, registry.WithReferrersSupport(true)), artifact(t)
	if _, err := open(t, host).Push(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewDigest(host + "/factory/rendered@" + a.Digest())
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers: %v", len(layers), err)
	}
	compressed, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gzip.NewReader(compressed)
	if err != nil {
		t.Fatal(err)
	}
	files := tar.NewReader(plain)
	head, err := files.Next()
	if err != nil || head.Name != attest.ManifestsFile {
		t.Fatalf("%+v: %v", head, err)
	}
	if content, err := io.ReadAll(files); err != nil || !bytes.Equal(content, a.File()) {
		t.Errorf("it holds %d bytes: %v", len(content), err)
	}
	if _, err := files.Next(); err != io.EOF {
		t.Errorf("after it: %v", err)
	}
}
