package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/audit/audittest"
)

// changed are the lists of what two revisions did.
func changed(t *testing.T, n int) attest.List {
	t.Helper()
	declared := "sha256:" + strings.Repeat("ab", 32)
	l, err := attest.NewList([]attest.ListEntry{
		{APIVersion: "v1", Kind: "ConfigMap", Namespace: "tekton-pipelines", Name: "feature-flags", Op: []string{"Create", "Update"}[n], Declared: declared},
		{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole", Name: "chains", Op: "Create", Declared: declared},
	}[:2-n])
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestProveShowsOneObjectToWhoeverKnowsTheSigner(t *testing.T) {
	t.Parallel()
	c := newKeptCluster(t)
	c.Place.Name = "proved"
	for n := range 2 {
		c.Edit = func(p *attest.Predicate) {
			p.Changes.Objects, p.Changes.Root = changed(t, n).Digest(), changed(t, n).Root()
		}
		c.must(c.Change(t.Context(), audittest.Alice, time.Duration(n).String()))
	}
	c.store(1)
	var f v1alpha1.Factory
	c.must(c.k.Get(t.Context(), client.ObjectKey{Namespace: kept, Name: "proved"}, &f))
	to, err := name.NewRepository(f.Spec.Attest.Repository)
	c.must(err)
	for n := range 2 {
		c.must(remote.WriteLayer(to, static.NewLayer(changed(t, n).Content(), "application/vnd.millwright.list.v1+json-lines")))
	}

	signed := []string{"--trusted-root", c.trustedRoot, "--certificate-identity", audittest.Reconciler, "--certificate-oidc-issuer", audittest.Workloads}
	for name, one := range map[string]struct {
		object, sequence, want, shows string
		code                          int
	}{
		"in the newest":          {"ConfigMap/tekton-pipelines/feature-flags", "0", "in record 2: line 1 of 1", "Update of ConfigMap tekton-pipelines/feature-flags", exitYes},
		"in the first":           {"ConfigMap/tekton-pipelines/feature-flags", "1", "in record 1", "Create of ConfigMap tekton-pipelines/feature-flags", exitYes},
		"one of no namespace":    {"ClusterRole.rbac.authorization.k8s.io/chains", "1", "in record 1", "Create of ClusterRole chains", exitYes},
		"one that was left":      {"ClusterRole.rbac.authorization.k8s.io/chains", "2", "not in the list of what was done", "", exitNo},
		"a record that is not":   {"ConfigMap/tekton-pipelines/feature-flags", "3", "there is no such record", "", exitUnknown},
		"a name that is no name": {"feature-flags", "0", "KIND[.GROUP]/[NAMESPACE/]NAME", "", exitUsage},
	} {
		file := filepath.Join(t.TempDir(), "proof.json")
		code, stdout, stderr := answer(t, "prove", "proved", "--kubeconfig", c.kubeconfig, "-n", kept, "--object", one.object, "--sequence", one.sequence, "--to", file)
		if code != one.code || !strings.Contains(stdout+stderr, one.want) {
			t.Errorf("%s: exit %d\n%s%s", name, code, stdout, stderr)
		}
		if one.code != exitYes {
			if _, err := os.Stat(file); err == nil {
				t.Errorf("%s: there is a proof", name)
			}
			continue
		}
		code, stdout, stderr = answer(t, append([]string{"prove", "--check", file}, signed...)...)
		if code != exitYes || !strings.Contains(stdout, "yes: "+one.shows) || !strings.Contains(stdout, "factory kept-factory/proved") {
			t.Errorf("%s: shown: exit %d\n%s%s", name, code, stdout, stderr)
		}
		code, stdout, _ = answer(t, append([]string{"prove", "--check", file, "-o", "json"}, signed...)...)
		var p proved
		if err := json.Unmarshal([]byte(stdout), &p); err != nil || code != exitYes || p.Answer != answerYes || p.Object.Declared == "" {
			t.Errorf("%s: exit %d, %v\n%s", name, code, err, stdout)
		}
		c.refused(t, file, signed)
	}
}

// refused has edited proofs, and signers that nobody named, refused.
func (c *keptCluster) refused(t *testing.T, file string, signed []string) {
	t.Helper()
	data, err := os.ReadFile(file)
	c.must(err)
	forged := filepath.Join(t.TempDir(), "forged.json")
	c.must(os.WriteFile(forged, []byte(strings.Replace(string(data), `\"declared\":\"sha256:ab`, `\"declared\":\"sha256:cd`, 1)), 0o600))
	other := append([]string{}, signed...)
	other[3] = audittest.Reconciler + "/other"
	for name, args := range map[string][]string{
		"edited":         append([]string{"prove", "--check", forged}, signed...),
		"another signer": append([]string{"prove", "--check", file}, other...),
	} {
		if code, stdout, stderr := answer(t, args...); code != exitNo || !strings.HasPrefix(stderr, "no: ") || stdout != "" {
			t.Errorf("%s: exit %d\n%s%s", name, code, stdout, stderr)
		}
	}
}
