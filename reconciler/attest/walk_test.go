package attest_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"

	"millwright.dev/millwright/reconciler/attest"
)

// storeChain stores n records, each as a referrer of the one artifact.
func storeChain(t *testing.T, host string, n int) (*attest.Repository, []attest.Record) {
	t.Helper()
	repo, a, key := open(t, host), artifact(t), newKey(t)
	if _, err := repo.Push(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	var records []attest.Record
	for i := range n {
		p := predicate(t)
		p.Sequence = int64(i) + 1
		if i > 0 {
			p.Previous = &attest.Previous{Sequence: int64(i), GitCommit: p.Source.Commit, Attestation: records[i-1].Digest}
		}
		s, err := attest.NewStatement(attest.Subjects{Artifact: a.Digest(), Manifests: a.ManifestsDigest(), Inventory: inventory(t).Digest()}, p)
		if err != nil {
			t.Fatal(err)
		}
		b, err := attest.KeyFile{Key: key}.Sign(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := repo.Attach(t.Context(), check(t, b, key)); err != nil {
			t.Fatal(err)
		}
		r := attest.Record{Sequence: p.Sequence, Commit: s.Commit(), Digest: b.Digest, Bundle: string(b.JSON)}
		if p.Previous != nil {
			r.Previous = p.Previous.Attestation
		}
		records = append(records, r)
	}
	return repo, records
}

func TestAChainIsFoundInTheRegistryWhateverElseHangsThere(t *testing.T) { // row F11
	t.Parallel()
	for name, host := range map[string]string{
		"with the referrers API":           serveRegistry(t, registry.WithReferrersSupport(true)),
		"with the fallback tag of OCI 1.1": serveRegistry(t),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo, records := storeChain(t, host, 3)
			bury(t, repo.String(), artifact(t).Digest(), attest.MaxReferrers+5)
			if _, err := repo.Bundles(t.Context(), artifact(t).Digest()); err == nil {
				t.Error("the bundles are not buried")
			}
			got, err := repo.Walk(t.Context(), records[2].Digest)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(records, got); diff != "" {
				t.Error(diff)
			}
			manifests, err := repo.Manifests(t.Context(), artifact(t).Digest())
			if err != nil || !bytes.Equal(manifests, artifact(t).File()) {
				t.Errorf("the manifests: %v", err)
			}
		})
	}
}

// bury attaches what strangers may attach: referrers that look like bundles.
func bury(t *testing.T, repo, digest string, n int) {
	t.Helper()
	ref, err := name.NewDigest(repo + "@" + digest)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Head(ref)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		config := mutate.ConfigMediaType(empty.Image, "application/vnd.oci.empty.v1+json")
		annotated, ok := mutate.Annotations(config, map[string]string{"n": fmt.Sprint(i)}).(v1.Image)
		image, also := mutate.Subject(annotated, *d).(v1.Image)
		if !ok || !also {
			t.Fatal("no image")
		}
		h, err := image.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref.Context().Digest(h.String()), image); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAWalkEndsWhereItCannotGoOn(t *testing.T) {
	t.Parallel()
	host := serveRegistry(t, registry.WithReferrersSupport(true))
	repo, records := storeChain(t, host, 3)
	put := func(content []byte) string {
		t.Helper()
		to, err := name.NewRepository(repo.String())
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.WriteLayer(to, static.NewLayer(content, "application/octet-stream")); err != nil {
			t.Fatal(err)
		}
		return attest.Digest(content)
	}
	for name, c := range map[string]struct{ from, want string }{
		"a bundle that is not there": {digest("9"), "fetching bundle"},
		"a bundle of 100 MB":         {put(bytes.Repeat([]byte(" "), 100<<20)), "larger than"},
		"a blob that is no bundle":   {put([]byte("{}")), "bundle/invalid"},
		"no digest":                  {"sha256:x", "is no digest"},
	} {
		found, err := repo.Walk(t.Context(), c.from)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(found) != 0 {
			t.Errorf("%s: %d records, %v", name, len(found), err)
		}
	}
	if _, err := repo.Manifests(t.Context(), records[0].Digest); err == nil {
		t.Error("a bundle is taken for manifests")
	}
	if !slices.IsSortedFunc(records, func(a, b attest.Record) int { return int(a.Sequence - b.Sequence) }) {
		t.Error("the chain is not in order")
	}
}
