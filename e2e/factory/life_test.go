package main

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/e2e/node"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/tools/assets"
	"millwright.dev/millwright/tools/images"
)

func differs(got, want string) error {
	if got != want {
		return fmt.Errorf("it is %q, not %q", got, want)
	}
	return nil
}

// commit changes a file of the factory repository as somebody, and waits until
// the commit is applied and attested.
func (f *factory) commit(t *testing.T, who, file, from, to string) string {
	t.Helper()
	f.edit(t, file, from, to)
	return f.push(t, who, "another "+from)
}

// edit changes a file in the working copy of the factory repository.
func (f *factory) edit(t *testing.T, file, from, to string) {
	t.Helper()
	path := f.path("site", "factory", file)
	data, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(data, []byte(from)) {
		t.Fatalf("%s has no %q: %v", file, from, err)
	}
	if err := os.WriteFile(path, bytes.ReplaceAll(data, []byte(from), []byte(to)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// push commits what was changed as somebody, and waits until it is in force.
func (f *factory) push(t *testing.T, who, message string) string {
	t.Helper()
	id := f.send(t, who, message)
	eventually(t, 2*time.Minute, "commit "+id[:12]+" was applied", func() error {
		made, err := f.status(t)
		if err != nil {
			return err
		}
		if made.Applied == nil || made.Applied.Commit != id {
			return errors.New(summary(&v1alpha1.Factory{Status: made}))
		}
		return nil
	})
	return id
}

// send commits what was changed as somebody.
func (f *factory) send(t *testing.T, who, message string) string {
	t.Helper()
	var id string
	for _, args := range [][]string{
		{"git", "commit", "--quiet", "--all", "-S", "--message", message}, {"git", "push", "--quiet", "origin", "main"}, {"git", "rev-parse", "HEAD"},
	} {
		out, err := f.as(t, who, "factory", args...)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		id = strings.TrimSpace(out)
	}
	return id
}

func (f *factory) status(t *testing.T) (v1alpha1.FactoryStatus, error) {
	t.Helper()
	var made v1alpha1.Factory
	err := f.api.Get(t.Context(), client.ObjectKey{Namespace: localfactory.Namespace, Name: localfactory.Name}, &made)
	return made.Status, err
}

// A component gets another image, and other arguments, by a commit that somebody
// signed who may, and by nothing else.
func upgrade(t *testing.T, f *factory) {
	runs := func() string {
		return f.must(t, "get", "pods", "--namespace=tekton-chains",
			"--output=jsonpath={range .items[*]}{.spec.containers[*].image} {.spec.initContainers[*].args}{end}")
	}
	next := f.nextImage(t, "tekton-chains")
	set := []string{"set", "image", "deployment/tekton-chains-controller", "--namespace=tekton-chains", "tekton-chains-controller=" + next}
	if out, err := f.kubectl(t, set...); err == nil {
		t.Errorf("by hand it is taken: %s", out)
	}
	if before := runs(); strings.Contains(before, next) || strings.Contains(before, "-timeout=9m") {
		t.Fatalf("it runs already: %s", before)
	}
	name, _, _ := strings.Cut(next, "@")
	old := regexp.MustCompile(regexp.QuoteMeta(name) + "@sha256:[0-9a-f]{64}")
	files, err := f.as(t, "bob", "factory", "git", "grep", "--files-with-matches", name+"@sha256:")
	if err != nil {
		t.Fatalf("%v\n%s", err, files)
	}
	for file := range strings.FieldsSeq(files) {
		path := f.path("site", "factory", file)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, old.ReplaceAll(data, []byte(next)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.commit(t, "bob", "bases/tekton-chains/patches/controller.yaml", "-timeout=10m", "-timeout=9m")
	f.must(t, "rollout", "status", "deployment/tekton-chains-controller", "--namespace=tekton-chains", "--timeout=120s")
	eventually(t, time.Minute, "only the new one runs", func() error {
		if now := runs(); strings.Count(now, "/tekton-chains@") != 1 || !strings.Contains(now, next) || !strings.Contains(now, "-timeout=9m") {
			return fmt.Errorf("what runs is %s, and not %s", now, next)
		}
		return nil
	})
}

// nextImage is an image of a component's program that is not the one that runs,
// signed and described by who makes images: as the next release would be.
func (f *factory) nextImage(t *testing.T, name string) string {
	t.Helper()
	bin, err := assets.Ensure(t.Context(), os.Stderr, name, "step")
	if err != nil {
		t.Fatal(err)
	}
	place := "/app/" + name
	image, err := images.Build(t.Context(), t.TempDir(), images.Image{
		Name: name, Files: map[string]string{place: bin.Path(name)}, Entrypoint: place, Env: []string{"RELEASE=next"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := push(t.Context(), f.registry(t), name, image)
	if err != nil {
		t.Fatal(err)
	}
	list, err := contents(t.Context(), t.TempDir(), bin.Path("step"), bin.Path(name))
	if err != nil {
		t.Fatal(err)
	}
	signer := f.signerNamed(t, imageBuilder)
	if err := errors.Join(signer.Attest(t.Context(), ref, images.Signature, nil), signer.Attest(t.Context(), ref, images.Contents, list)); err != nil {
		t.Fatal(err)
	}
	return node.Registry + "/" + name + "@" + ref.DigestStr()
}

// records are the factory's own, by their number.
func (f *factory) records(t *testing.T) []v1alpha1.AppliedRevision {
	t.Helper()
	var list v1alpha1.AppliedRevisionList
	if err := f.api.List(t.Context(), &list, client.InNamespace(localfactory.Namespace)); err != nil {
		t.Fatal(err)
	}
	records := slices.DeleteFunc(list.Items, func(r v1alpha1.AppliedRevision) bool { return r.Spec.Type != "Applied" && r.Spec.Type != "Enforced" })
	slices.SortFunc(records, func(a, b v1alpha1.AppliedRevision) int { return int(a.Spec.Sequence - b.Spec.Sequence) })
	return records
}

// The first record was signed with a key and says so, the last one by the identity
// that the factory gave to the controller; and an auditor finds all of it whole.
func evidence(t *testing.T, f *factory) {
	records := f.records(t)
	first, last := records[0], records[len(records)-1]
	if name := certified(t, first); name != "" {
		t.Errorf("the first record is signed by %s, not by the first key", name)
	}
	if name := certified(t, last); name != localfactory.Subject {
		t.Errorf("the last record is signed by %q, not by %s", name, localfactory.Subject)
	}
	anchor, err := f.as(t, "alice", "factory", "git", "rev-list", "--max-parents=0", "HEAD")
	if err != nil {
		t.Fatalf("%v\n%s", err, anchor)
	}
	out, err := f.as(t, "alice", "factory", "millwright", "audit", localfactory.Name, "--repo=.", "--registry="+f.registry(t)+"/factory/rendered",
		"--trusted-root="+f.path("trusted_root.json"), "--key="+f.path("keys", "attest.pub"), "--certificate-identity="+localfactory.Subject,
		"--certificate-oidc-issuer="+issuer, "--anchor="+strings.TrimSpace(anchor), "--head="+last.Spec.Digest, "--live")
	if err != nil {
		t.Errorf("the audit: %v\n%s", err, out)
	}
	t.Log(out)
}

// certified is the URI in the certificate of a record's signature; empty when it
// was made with a key.
func certified(t *testing.T, record v1alpha1.AppliedRevision) string {
	t.Helper()
	var bundle struct {
		VerificationMaterial struct {
			Certificate struct{ RawBytes string }
		}
	}
	if err := json.Unmarshal([]byte(record.Spec.Bundle), &bundle); err != nil {
		t.Fatal(err)
	}
	if bundle.VerificationMaterial.Certificate.RawBytes == "" {
		return ""
	}
	der, err := base64.StdEncoding.DecodeString(bundle.VerificationMaterial.Certificate.RawBytes)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil || len(cert.URIs) != 1 {
		t.Fatalf("%v %v", err, cert)
	}
	return cert.URIs[0].String()
}

// After a loss of power everything comes back, and what was signed before still
// verifies: by cosign, and by Kyverno, which asks the log.
func startsAgain(t *testing.T, f *factory) {
	image := f.image(t, "sample-1")
	began := time.Now()
	if out, err := f.command(t.Context(), "restart"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("everything was back after %s", time.Since(began).Round(time.Second))
	f.connect(t)
	for kind, identity := range map[string]string{"slsaprovenance1": builder, "spdxjson": publisher} {
		if _, err := f.cosign(t, kind, identity, image); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	// The first calls may find that a service's way is not there yet.
	eventually(t, time.Minute, "what was built before was let in again", func() error {
		out, err := f.kubectlOf(t, manifest(t, "pod.yaml", "NAME", "again", "IMAGE", image), "create", "-f", "-")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	f.refused(t, "mw-k10-release-images", manifest(t, "pod.yaml", "NAME", "stranger", "IMAGE",
		f.must(t, "get", "deployment", "coredns", "--namespace=kube-system", "--output=jsonpath={.spec.template.spec.containers[0].image}")), "create", "-f", "-")
	f.run(t, "sample-3")
	if again := f.image(t, "sample-3"); again != image {
		t.Errorf("the same commit is built to %s, before to %s", again, image)
	}
}

// machine is what a factory could leave behind on it.
type machine struct{ mounts, links string }

func look(t *testing.T) machine {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	links, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Name())
	}
	return machine{mounts: string(mounts), links: strings.Join(names, " ")}
}

// After make factory-down the machine is as it was.
func nothingLeft(t *testing.T, f *factory) {
	groups := "/sys/fs/cgroup/*" + node.ControlGroup(f.path("node"))
	if there, err := filepath.Glob(groups); err != nil || len(there) == 0 {
		t.Fatalf("the running node has no control group %s: %v", groups, err)
	}
	if out, err := f.command(t.Context(), "down"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if left, err := filepath.Glob(groups); err != nil || len(left) > 0 {
		t.Errorf("control groups are left: %q, %v", left, err)
	}
	if after := look(t); after != f.before {
		t.Errorf("before:\n%+v\nafter:\n%+v", f.before, after)
	}
	if _, err := os.Stat(f.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", f.dir, err)
	}
	out, err := exec.CommandContext(t.Context(), "pgrep", "--full", f.dir).Output()
	if err == nil {
		t.Errorf("processes are left: %s", out)
	}
}
