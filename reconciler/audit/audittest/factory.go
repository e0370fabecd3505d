// Package audittest makes the history and the records of a factory in this
// process, in milliseconds a revision: commits that are signed as gitsign does,
// and records that say of them what the reconciler says, signed by a workload's
// identity. Tests of the reconciler audit what it really left behind; this kit
// is for the thousand ways in which evidence may be spoilt, and for measuring.
package audittest

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/source"
	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/factory"
)

// Who signs: commits and records.
const (
	Issuer     = "https://issuer.virtual.test"
	Alice      = "alice@factory.test"
	Bob        = "bob@factory.test"
	Reconciler = "spiffe://factory.test/factory/reconciler"
	Workloads  = "https://workloads.virtual.test"
	// Release is the reconciler's version.
	Release = "test"
)

// Factory is a factory with all that it left behind.
type Factory struct {
	Virtual *sigstoretest.Virtual
	// Dir is a bare repository.
	Dir    string
	Anchor gitverify.ID
	// Records are the chain, oldest first.
	Records []attest.Record
	// Place is where the records say that they were made.
	Place  attest.Factory
	Target attest.Target
	// Sign signs records; it may be replaced.
	Sign func(statement []byte) ([]byte, error)
	// Edit changes a record before it is signed.
	Edit func(*attest.Predicate)

	files    map[string]string
	written  map[string]gitverify.ID
	head     gitverify.ID
	floor    gitverify.ID
	applied  attest.Statement
	until    time.Time
	ticks    int
	verifier *gitverify.Verifier
	renderer render.Renderer
}

// Policy is the trust policy of the anchor.
const Policy = `apiVersion: millwright.dev/v1alpha1
kind: TrustPolicy
metadata: {name: factory}
spec:
  version: 1
  repository: millwright.dev/audited
  identities:
  - {name: alice, person: alice, issuer: "` + Issuer + `", subject: ` + Alice + `, roles: [maintainer]}
  - {name: bob, person: bob, issuer: "` + Issuer + `", subject: ` + Bob + `, roles: [maintainer]}
  - {name: carol, person: carol, issuer: "` + Issuer + `", subject: carol@factory.test, roles: [security]}
  rules:
  - {name: everything, paths: ["**"], role: maintainer, threshold: 1}
`

const config = `apiVersion: millwright.dev/v1alpha1
kind: FactoryConfig
metadata: {name: audited}
spec:
  environments:
  - {name: production, overlay: overlays/production, health: {mode: Unknown, reason: no kubelet runs here}}
  components:
  - {name: app, path: app, drift: correct}
`

// Ref is the followed branch.
const Ref = "refs/heads/main"

// New begins a factory in dir, at a time.
func New(dir string, now time.Time) (*Factory, error) {
	virtual, err := sigstoretest.NewVirtual(now)
	if err != nil {
		return nil, err
	}
	f := &Factory{
		Virtual: virtual, Dir: dir, written: map[string]gitverify.ID{},
		Place:  attest.Factory{Namespace: "millwright-system", Name: "factory"},
		Target: attest.Target{Environment: "production", ClusterUID: "0f8b6a3e-2a52-4c57-9a55-54d3c1a0f1d2", KubernetesVersion: "v1.36.3"},
		files: map[string]string{
			"factory-config/factory.yaml": config, "factory-config/trust/policy.yaml": Policy,
			"overlays/production/app/kustomization.yaml": "resources: [config.yaml]\n",
			"overlays/production/app/config.yaml":        ConfigMap("at the anchor"),
		},
	}
	f.Sign = func(statement []byte) ([]byte, error) {
		return virtual.SignStatement(statement, sigstoretest.SignOptions{Subject: Reconciler, Issuer: Workloads, IssuedAt: f.tick()})
	}
	for name, text := range map[string]string{"HEAD": "ref: " + Ref + "\n", "config": "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"} {
		if err := write(filepath.Join(dir, name), []byte(text)); err != nil {
			return nil, err
		}
	}
	root, err := f.trusted()
	if err != nil {
		return nil, err
	}
	if f.verifier, err = gitverify.New(root, gitverify.Options{}); err != nil {
		return nil, err
	}
	f.Anchor, err = f.Commit("", "anchor", nil)
	return f, err
}

// ConfigMap is the one object of the factory.
func ConfigMap(value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: default}\ndata: {key: %q}\n", value)
}

func (f *Factory) trusted() (gitverify.TrustedRoot, error) {
	data, err := f.Virtual.TrustedRootJSON()
	if err != nil {
		return gitverify.TrustedRoot{}, err
	}
	return gitverify.ParseTrustedRoot(data)
}

// tick is a time a minute after the one before.
func (f *Factory) tick() time.Time {
	f.ticks++
	return f.Virtual.Now().Add(time.Duration(f.ticks) * time.Minute)
}

// Store opens the repository.
func (f *Factory) Store() (*source.Store, error) { return source.OpenLocal(f.Dir) }

// Head is the newest commit.
func (f *Factory) Head() gitverify.ID { return f.head }

// Commit commits changed files on the branch, signed by somebody, or by nobody.
func (f *Factory) Commit(who, message string, changes map[string]string) (gitverify.ID, error) {
	maps.Copy(f.files, changes)
	tree, err := f.tree(f.files)
	if err != nil {
		return "", err
	}
	at := f.tick()
	var b strings.Builder
	fmt.Fprintf(&b, "tree %s\n", tree)
	if f.head != "" {
		fmt.Fprintf(&b, "parent %s\n", f.head)
	}
	fmt.Fprintf(&b, "author A <%[1]s> %[2]d +0000\ncommitter A <%[1]s> %[2]d +0000\n\n%[3]s\n", who, at.Unix(), message)
	body := []byte(b.String())
	if who != "" {
		if body, err = f.Virtual.SignCommit(body, sigstoretest.SignOptions{Subject: who, Issuer: Issuer, IssuedAt: at}); err != nil {
			return "", err
		}
	}
	if f.head, err = f.put("commit", body); err != nil {
		return "", err
	}
	return f.head, write(filepath.Join(f.Dir, Ref), []byte(string(f.head)+"\n"))
}

// Change commits another value of the one object, and records it as applied.
func (f *Factory) Change(ctx context.Context, who, value string) error {
	if _, err := f.Commit(who, value, map[string]string{"overlays/production/app/config.yaml": ConfigMap(value)}); err != nil {
		return err
	}
	return f.Apply(ctx)
}

func (f *Factory) tree(files map[string]string) (gitverify.ID, error) {
	entries, below := map[string]string{}, map[string]map[string]string{}
	for path, text := range files {
		if dir, rest, ok := strings.Cut(path, "/"); ok {
			if below[dir] == nil {
				below[dir] = map[string]string{}
			}
			below[dir][rest] = text
			continue
		}
		id, err := f.put("blob", []byte(text))
		if err != nil {
			return "", err
		}
		entries[path] = "100644 " + path + "\x00" + raw(id)
	}
	for dir, files := range below {
		id, err := f.tree(files)
		if err != nil {
			return "", err
		}
		entries[dir+"/"] = "40000 " + dir + "\x00" + raw(id)
	}
	var body strings.Builder
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		body.WriteString(entries[key])
	}
	return f.put("tree", []byte(body.String()))
}

func raw(id gitverify.ID) string {
	b, _ := hex.DecodeString(string(id)) // put made it
	return string(b)
}

func (f *Factory) put(kind string, body []byte) (gitverify.ID, error) {
	loose := append(fmt.Appendf(nil, "%s %d\x00", kind, len(body)), body...)
	sum := sha1.Sum(loose)
	name := hex.EncodeToString(sum[:])
	if _, done := f.written[name]; done {
		return gitverify.ID(name), nil
	}
	f.written[name] = gitverify.ID(name)
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	_, err := z.Write(loose)
	if err = errors.Join(err, z.Close()); err != nil {
		return "", err
	}
	return gitverify.ID(name), write(filepath.Join(f.Dir, "objects", name[:2], name[2:]), packed.Bytes())
}

func write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// rendered renders the tree of a verified commit.
func (f *Factory) rendered(tree fs.FS) (factory.Rendering, [][]byte, error) {
	out, err := factory.Render(&f.renderer, tree, f.Target.Environment)
	if err != nil {
		return out, nil, err
	}
	var documents [][]byte
	for _, o := range out.Manifests.Objects() {
		documents = append(documents, o.JSON())
	}
	return out, documents, nil
}
