package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
)

func TestManifestsAndReferrersOutliveARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func() *keeper {
		k := newKeeper(dir, registry.New())
		if err := k.replay(); err != nil {
			t.Fatal(err)
		}
		return k
	}
	subject := "sha256:" + strings.Repeat("ab", 32)
	do := func(k *keeper, method, path, body string) *httptest.ResponseRecorder {
		req := httptest.NewRequest(method, path, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		w := httptest.NewRecorder()
		k.ServeHTTP(w, req)
		return w
	}
	first := start()
	manifest := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.example"},"layers":[],"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + subject + `","size":1}}`
	if w := do(first, http.MethodPut, "/v2/a/b/manifests/keep", manifest); w.Code != http.StatusCreated {
		t.Fatalf("put: %d %s", w.Code, w.Body)
	}
	do(first, http.MethodPut, "/v2/a/b/manifests/gone", manifest)
	do(first, http.MethodDelete, "/v2/a/b/manifests/gone", "")

	second := start()
	if w := do(second, http.MethodGet, "/v2/a/b/manifests/keep", ""); w.Code != http.StatusOK || w.Body.String() != manifest {
		t.Errorf("kept manifest: %d %s", w.Code, w.Body)
	}
	if w := do(second, http.MethodGet, "/v2/a/b/manifests/gone", ""); w.Code != http.StatusNotFound {
		t.Errorf("deleted manifest is back: %d", w.Code)
	}
	for path, want := range map[string]int{
		"/v2/a/b/referrers/" + subject:                                           1,
		"/v2/a/b/referrers/" + subject + "?artifactType=application/vnd.example": 1,
		"/v2/a/b/referrers/" + subject + "?artifactType=application/vnd.other":   0,
		"/v2/a/referrers/" + subject:                                             0,
		"/v2/a/b/referrers/sha256:" + strings.Repeat("cd", 32):                   0,
	} {
		w := do(second, http.MethodGet, path, "")
		if got := strings.Count(w.Body.String(), "application/vnd.example"); got != want || w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	digest := do(second, http.MethodGet, "/v2/a/b/manifests/keep", "").Header().Get("Docker-Content-Digest")
	do(second, http.MethodDelete, "/v2/a/b/manifests/"+digest, "")
	if w := do(second, http.MethodGet, "/v2/a/b/referrers/"+subject, ""); strings.Contains(w.Body.String(), digest) {
		t.Errorf("what is deleted still refers: %s", w.Body)
	}
}
