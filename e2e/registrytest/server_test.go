package registrytest

import (
	"os"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func TestAnImageAndItsReferrersOutliveARestart(t *testing.T) {
	t.Parallel()
	s, err := Start(t.Context(), t.TempDir(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	repo, err := name.NewRepository(s.Host + "/factory/manifests")
	if err != nil {
		t.Fatal(err)
	}
	img, err := random.Image(1<<10, 1)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(repo.Digest(digest.String()), img); err != nil {
		t.Fatal(err)
	}
	subject, err := partial.Descriptor(img)
	if err != nil {
		t.Fatal(err)
	}
	statement, ok := mutate.Subject(empty.Image, *subject).(v1.Image)
	if !ok {
		t.Fatal("a referrer is no image")
	}
	statementDigest, err := statement.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(repo.Digest(statementDigest.String()), statement); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Image(repo.Digest(digest.String())); err != nil {
		t.Errorf("the image is lost: %v", err)
	}
	index, err := remote.Referrers(repo.Digest(digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 || manifest.Manifests[0].Digest != statementDigest {
		t.Errorf("referrers are %v: %v", manifest, err)
	}
}
