package main

import (
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/kustomize/kyaml/resid"
	"sigs.k8s.io/yaml"
)

func TestTheControllerHasOneIdentityAndOneKey(t *testing.T) {
	t.Parallel()
	for flags, want := range map[string]string{
		"":                                  "",
		"--identity-token-file t":           "",
		"--spiffe-socket /spiffe/s":         "",
		"--attest-key k":                    "",
		"--attest-kms awskms://k":           "",
		"--spiffe-socket /s --attest-key k": "",
		"--identity-token-file t --spiffe-socket /s": "two sources of one identity",
		"--attest-key k --attest-kms awskms://k":     "two places of one key",
		"--spiffe-socket spiffe/s":                   "absolute path",
		"--spiffe-socket unix:///spiffe/s":           "absolute path",
	} {
		_, err := parse(append([]string{"--data-dir", "d", "--policy-engine", "p", "--trusted-root", "r"}, strings.Fields(flags)...), io.Discard)
		if got := ""; err != nil {
			if got = err.Error(); want == "" || !strings.Contains(got, want) {
				t.Errorf("%q: %s, want %q", flags, got, want)
			}
		} else if want != "" {
			t.Errorf("%q is accepted", flags)
		}
	}
}

func TestHostsInTheClearAreAskedForOneByOne(t *testing.T) {
	t.Parallel()
	for flag, want := range map[string][]string{
		"":                                nil,
		"--plain-http-hosts=a:5000":       {"a:5000"},
		"--plain-http-hosts=a:5000,b.c.d": {"a:5000", "b.c.d"},
	} {
		o, err := parse(append([]string{"--data-dir", "d", "--policy-engine", "p", "--trusted-root", "r"}, strings.Fields(flag)...), io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, o.plain); diff != "" {
			t.Errorf("%q (-want +got):\n%s", flag, diff)
		}
	}
}

// What overlays/local starts is what this program understands, and each file that
// its flags name lies in something that is mounted.
func TestTheInstallsStartTheControllerWithFlagsThatItHas(t *testing.T) {
	t.Parallel()
	for overlay, want := range map[string]options{
		"millwright":          {keyFile: "/key/attest.key"},
		"millwright-identity": {spiffe: "/spiffe/api.sock"},
	} {
		t.Run(overlay, func(t *testing.T) {
			t.Parallel()
			container := installed(t, overlay).Spec.Template.Spec.Containers[0]
			got, err := parse(container.Args, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			if got.keyFile != want.keyFile || got.spiffe != want.spiffe || got.tokenFile != "" || got.keyService != "" || !got.leaderElect {
				t.Errorf("key %q, socket %q", got.keyFile, got.spiffe)
			}
			// The registry and Fulcio: nothing else gets evidence or a token.
			if diff := cmp.Diff([]string{"registry.localhost:5000", "fulcio.sigstore.svc.cluster.local"}, got.plain); diff != "" {
				t.Errorf("in the clear (-want +got):\n%s", diff)
			}
			mounted := map[string]bool{}
			for _, m := range container.VolumeMounts {
				mounted[m.MountPath] = m.ReadOnly
			}
			for _, file := range []string{got.trustedRoot, want.keyFile, want.spiffe} {
				if file != "" && !mounted[filepath.Dir(file)] {
					t.Errorf("%s is not mounted for reading", file)
				}
			}
			if readOnly, ok := mounted[got.dataDir]; !ok || readOnly {
				t.Errorf("%s is not mounted for writing", got.dataDir)
			}
		})
	}
}

func installed(t *testing.T, overlay string) appsv1.Deployment {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join("..", "..", "overlays", "local", overlay))
	if err != nil {
		t.Fatal(err)
	}
	r, err := built.GetById(resid.NewResIdWithNamespace(resid.NewGvk("apps", "v1", "Deployment"), "millwright-controller", "millwright-system"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := r.AsYAML()
	if err != nil {
		t.Fatal(err)
	}
	var d appsv1.Deployment
	if err := yaml.UnmarshalStrict(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}
