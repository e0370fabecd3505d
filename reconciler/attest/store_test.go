package attest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"millwright.dev/millwright/reconciler/attest"
)

var documents = [][]byte{
	[]byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"tekton-pipelines"}}`),
	[]byte(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"webhook-certs","namespace":"tekton-pipelines"}}`),
}

var origin = attest.Origin{Repository: "https://git.example.org/factory.git", Ref: "refs/heads/main", Commit: commitA}

func artifact(t *testing.T) attest.Artifact {
	t.Helper()
	a, err := attest.NewArtifact(documents, origin)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// about is a statement whose subjects are this artifact.
func about(t *testing.T, a attest.Artifact) attest.Statement {
	t.Helper()
	p := predicate(t)
	p.Changes.Objects = changes(t).Digest()
	s, err := attest.NewStatement(attest.Subjects{Artifact: a.Digest(), Manifests: a.ManifestsDigest(), Inventory: inventory(t).Digest()}, p)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func inventory(t *testing.T) attest.List {
	t.Helper()
	return list(t, attest.ListEntry{APIVersion: "v1", Kind: "Namespace", Name: "tekton-pipelines", UID: "1", Declared: digest("1")})
}

func changes(t *testing.T) attest.List {
	t.Helper()
	return list(t, attest.ListEntry{APIVersion: "v1", Kind: "Namespace", Name: "tekton-pipelines", Op: "Create", Declared: digest("1")})
}

func open(t *testing.T, host string) *attest.Repository {
	t.Helper()
	repo, err := attest.OpenRepository(host+"/factory/rendered", attest.RepositoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return repo
}

func TestArtifactOfTheSameDocumentsHasTheSameDigests(t *testing.T) {
	t.Parallel()
	a, b := artifact(t), artifact(t)
	if a.Digest() != b.Digest() || a.ManifestsDigest() != b.ManifestsDigest() {
		t.Error("two artifacts of the same documents differ")
	}
	if a.ManifestsDigest() != attest.Digest(a.File()) {
		t.Error("the manifests' digest is not the file's")
	}
	want := "---\n" + string(documents[0]) + "\n---\n" + string(documents[1]) + "\n"
	if diff := cmp.Diff(want, string(a.File())); diff != "" {
		t.Error(diff)
	}
}

func TestArtifactRefusesSecretsWithValues(t *testing.T) {
	t.Parallel()
	const canary = "Y2FuYXJ5"
	for name, c := range map[string]struct{ doc, code string }{
		"data":            {`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","namespace":"b"},"data":{"k":"` + canary + `"}}`, attest.CodeArtifactSecret},
		"stringData":      {`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a","namespace":"b"},"stringData":{"k":"` + canary + `"}}`, attest.CodeArtifactSecret},
		"several lines":   {"{\n}", attest.CodeArtifactInvalid},
		"no object":       {`[1]`, attest.CodeArtifactInvalid},
		"a spec for data": {`{"apiVersion":"v1","kind":"Secret","data":["` + canary + `"]}`, attest.CodeArtifactInvalid},
	} {
		_, err := attest.NewArtifact([][]byte{[]byte(c.doc)}, origin)
		var no *attest.Refusal
		if !errors.As(err, &no) || no.Code != c.code || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPushAndAttachAreIdempotentAndComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	for name, host := range map[string]string{
		"with the referrers API":           serveRegistry(t, registry.WithReferrersSupport(true)),
		"with the fallback tag of OCI 1.1": serveRegistry(t),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			repo, a, key := open(t, host), artifact(t), newKey(t)
			s := about(t, a)
			b, err := attest.KeyFile{Key: key}.Sign(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			var references []string
			for range 2 {
				pushed, err := repo.Push(t.Context(), a)
				if err != nil {
					t.Fatal(err)
				}
				attached, err := repo.Attach(t.Context(), check(t, b, key))
				if err != nil {
					t.Fatal(err)
				}
				references = append(references, pushed, attached)
			}
			if references[0] != references[2] || references[1] != references[3] {
				t.Errorf("references differ: %v", references)
			}
			attachForeign(t, repo.String(), a.Digest())
			if _, err := repo.AttachLists(t.Context(), check(t, b, key), inventory(t), changes(t)); err != nil {
				t.Fatal(err)
			}
			for _, l := range []attest.List{inventory(t), changes(t)} {
				if got, err := repo.List(t.Context(), l.Digest()); err != nil || got.Digest() != l.Digest() {
					t.Errorf("the list that came back: %v", err)
				}
			}
			got, err := repo.Bundles(t.Context(), a.Digest())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]attest.Bundle{b}, got); diff != "" {
				t.Errorf("bundles that came back:\n%s", diff)
			}
		})
	}
}

// attachForeign attaches something that is no bundle.
func attachForeign(t *testing.T, repo, digest string) {
	t.Helper()
	ref, err := name.NewDigest(repo + "@" + digest)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Head(ref)
	if err != nil {
		t.Fatal(err)
	}
	image, ok := mutate.Subject(empty.Image, *d).(v1.Image)
	if !ok {
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

// check verifies what a key signed without any service.
func check(t *testing.T, b attest.Bundle, key attest.Key) attest.Verified {
	t.Helper()
	v, err := attest.VerifyBundle(b.JSON, nil, offline(key))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAttachNeedsTheArtifactAndAVerifiedBundle(t *testing.T) {
	t.Parallel()
	repo, a := open(t, serveRegistry(t, registry.WithReferrersSupport(true))), artifact(t)
	key := newKey(t)
	b, err := attest.KeyFile{Key: key}.Sign(t.Context(), about(t, a))
	if err != nil {
		t.Fatal(err)
	}
	var no *attest.Refusal
	for name, v := range map[string]attest.Verified{"no artifact": check(t, b, key), "nothing verified": {Statement: about(t, a)}} {
		if _, err := repo.Attach(t.Context(), v); err == nil || errors.As(err, &no) {
			t.Errorf("%s: want an inability, got %v", name, err)
		}
	}
}

func TestListsThatTheStatementDoesNotNameAreNotAttached(t *testing.T) {
	t.Parallel()
	repo, a, key := open(t, serveRegistry(t, registry.WithReferrersSupport(true))), artifact(t), newKey(t)
	b, err := attest.KeyFile{Key: key}.Sign(t.Context(), about(t, a))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Push(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := repo.AttachLists(t.Context(), check(t, b, key), list(t)); err == nil || !strings.Contains(err.Error(), "not in the statement") {
		t.Errorf("got %v", err)
	}
	if _, err := repo.List(t.Context(), list(t, attest.ListEntry{Name: "x"}).Digest()); err == nil {
		t.Error("a list came back that was never stored")
	}
}

func TestTooManyReferrersAreAnErrorAndNotHalfAnAnswer(t *testing.T) {
	t.Parallel()
	d := `{"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json","mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"` + digest("a") + `"}`
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/referrers/") {
			w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
			_, _ = fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}`,
				strings.Repeat(d+",", attest.MaxReferrers)+d)
		}
	}))
	t.Cleanup(srv.Close)
	_, err := open(t, strings.TrimPrefix(srv.URL, "http://")).Bundles(t.Context(), digest("b"))
	if err == nil || !strings.Contains(err.Error(), "101 referrers") {
		t.Errorf("got %v", err)
	}
}

func TestEvidenceGoesToNoOtherMachineInTheClear(t *testing.T) {
	t.Parallel()
	for ref, ok := range map[string]bool{
		"registry.example.org/a/b": true, "127.0.0.1:5000/a/b": true, "localhost:5000/a/b": true,
		"10.1.2.3:5000/a/b": false, "192.168.0.1/a/b": false, "registry.localhost/a/b": false,
		"http://127.0.0.1:5000/a": false, "a b": false, "": false,
	} {
		if _, err := attest.OpenRepository(ref, attest.RepositoryOptions{}); (err == nil) != ok {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

func TestEvidenceGoesInTheClearToHostsThatWereNamed(t *testing.T) {
	t.Parallel()
	named := []string{"registry.localhost:5000", "10.1.2.3:5000"}
	for ref, ok := range map[string]bool{
		"registry.localhost:5000/a/b": true, "10.1.2.3:5000/a/b": true, "127.0.0.1:5000/a/b": true, "registry.example.org/a/b": true,
		"registry.localhost/a/b": false, "registry.localhost:5001/a/b": false, "my.registry.localhost:5000/a/b": false,
		"10.1.2.3/a/b": false, "10.1.2.30:5000/a/b": false,
	} {
		if _, err := attest.OpenRepository(ref, attest.RepositoryOptions{Plain: named}); (err == nil) != ok {
			t.Errorf("%q: %v", ref, err)
		}
	}
}

// What a host is called says nothing about what it speaks: the registry is one
// without https, reached under a name for which https is expected.
func TestARegistryWithoutHTTPSIsSpokenToWhereItWasNamed(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
	}}
	t.Cleanup(transport.CloseIdleConnections)
	for host, ok := range map[string]bool{"registry.factory.test:5000": true, "registry.factory.test:5001": false, "another.factory.test:5000": false} {
		repo, err := attest.OpenRepository(host+"/factory/rendered", attest.RepositoryOptions{Transport: transport, Plain: []string{"registry.factory.test:5000"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := repo.Push(t.Context(), artifact(t)); (err == nil) != ok {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestABundleThatTheRegistryChangedIsAnErrorAndNoEvidence(t *testing.T) {
	t.Parallel()
	inner := registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
	var lie atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lie.Load() && r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			_, _ = io.WriteString(w, "{}")
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	repo, a, key := open(t, strings.TrimPrefix(srv.URL, "http://")), artifact(t), newKey(t)
	b, err := attest.KeyFile{Key: key}.Sign(t.Context(), about(t, a))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Push(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Attach(t.Context(), check(t, b, key)); err != nil {
		t.Fatal(err)
	}
	if got, err := repo.Bundles(t.Context(), a.Digest()); err != nil || len(got) != 1 {
		t.Fatalf("the honest twin: %d bundles, %v", len(got), err)
	}
	lie.Store(true)
	if got, err := repo.Bundles(t.Context(), a.Digest()); err == nil {
		t.Errorf("got %d bundles from a registry that lies", len(got))
	}
}
