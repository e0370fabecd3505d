package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/reconciler/factorytest"
	"millwright.dev/millwright/reconciler/kubetest"
)

// declared is the namespace of the factory's ConfigMaps.
const declared = "bench"

// floor is what everything stands on: a site whose API server writes down every
// request, and a repository whose commits are signed beforehand.
type floor struct {
	site    *localfactory.Site
	cluster *kubetest.Cluster
	api     client.Client
	alice   localfactory.Person
	anchor  string
	// commits are the revisions: the factory itself, and then one change each.
	commits []string
	seen    *watcher
	// key is the file of the key that records are signed with, and its public half
	// beside it; empty means with certificates of Fulcio.
	key string
}

// newFloor starts the servers. etcd writes safely, as in production.
func newFloor(ctx context.Context, c config, own string, progress io.Writer) (*floor, error) {
	dir := filepath.Join(c.dir, "site")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	site, err := localfactory.Start(ctx, localfactory.Options{Dir: dir, Root: c.root, Programs: own, WithoutCluster: true, Progress: progress})
	if err != nil {
		return nil, err
	}
	f := &floor{site: site}
	if f.cluster, err = kubetest.Start(ctx, site.Path("kube"), kubetest.Options{Fsync: true, Audit: true}); err != nil {
		f.stop()
		return nil, err
	}
	err = f.fill(ctx, c.small)
	if err == nil && c.signer == signerKey {
		f.key = site.Path("controller", "attest.pem")
		err = writeKey(f.key)
	}
	if err != nil {
		f.stop()
		return nil, err
	}
	return f, nil
}

// stop ends what was started; the site ends its cluster with itself.
func (f *floor) stop() {
	if f.site.Cluster == nil && f.cluster != nil {
		f.cluster.Stop()
	}
	f.site.Stop()
}

// fill makes the repository with the factory in it, and the client.
func (f *floor) fill(ctx context.Context, objects int) error {
	err := f.site.Use(f.cluster)
	if err != nil {
		return err
	}
	if f.api, err = f.site.Client(); err != nil {
		return err
	}
	if err := f.site.Install(ctx); err != nil {
		return err
	}
	if f.alice, err = f.site.Person(ctx, "alice"); err != nil {
		return err
	}
	if err := f.site.Write("factory-config/trust/policy.yaml", f.site.Policy(1, f.alice)); err != nil {
		return err
	}
	if f.anchor, err = f.site.Repository(ctx, f.alice); err != nil {
		return err
	}
	for name, content := range factoryFiles(objects) {
		if err := f.site.Write(name, content); err != nil {
			return err
		}
	}
	return f.commit(ctx, "the factory")
}

// factoryFiles are a namespace and some ConfigMaps in it, none of which belongs to
// a revision yet.
func factoryFiles(objects int) map[string]string {
	out := map[string]string{
		"factory-config/factory.yaml":            factorytest.Config,
		"overlays/local/base/kustomization.yaml": "resources: [namespace.yaml]\n",
		"overlays/local/base/namespace.yaml":     "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + declared + "}\n",
	}
	var names []string
	for i := range objects {
		name, content := configMap(i, 0)
		out[name] = content
		names = append(names, filepath.Base(name))
	}
	out["overlays/local/app/kustomization.yaml"] = "resources: [" + strings.Join(names, ", ") + "]\n"
	return out
}

// configMap is the file of a ConfigMap that a revision changes.
func configMap(i, revision int) (file, content string) {
	return fmt.Sprintf("overlays/local/app/c-%03d.yaml", i),
		fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c-%03d, namespace: %s}\ndata: {revision: \"%d\"}\n", i, declared, revision)
}

// commit signs what was changed as the next revision.
func (f *floor) commit(ctx context.Context, message string) error {
	for _, args := range [][]string{{"git", "add", "--all"}, {"git", "commit", "--quiet", "-S", "-m", message}} {
		if _, err := f.site.Must(ctx, f.alice, args...); err != nil {
			return err
		}
	}
	id, err := f.site.Head(ctx, f.alice)
	f.commits = append(f.commits, id)
	return err
}

// revise signs a revision that changes one ConfigMap.
func (f *floor) revise(ctx context.Context, objects int) error {
	revision := len(f.commits)
	if err := f.site.Write(configMap(revision%objects, revision)); err != nil {
		return err
	}
	return f.commit(ctx, fmt.Sprintf("revision %d", revision))
}

// writeKey makes a key and writes it, and its public half beside it.
func writeKey(path string) error {
	key, text, err := factorytest.Key()
	if err != nil {
		return err
	}
	public, err := key.PublicPEM()
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(path, text, 0o600), os.WriteFile(path+".pub", public, 0o600))
}

// flags are those of the controller that a site does not give it.
func (f *floor) flags() []string {
	if f.key == "" {
		return nil
	}
	return []string{"--attest-key", f.key}
}

// create makes the Factory. No clock wakes it, and it holds a revision until its
// verdict is stored, as everywhere but in an environment named local.
func (f *floor) create(ctx context.Context, keep int) error {
	factory := f.site.Factory(f.anchor, 24*time.Hour)
	factory.Spec.Attest.WhenUnavailable, factory.Spec.Attest.Keep = "Hold", int32(keep)
	factory.Spec.Attest.Heartbeat = metav1.Duration{Duration: 24 * time.Hour}
	if f.key != "" {
		a := &factory.Spec.Attest
		a.Signer, a.Fulcio, a.Rekor, a.TimestampAuthority, a.Issuer, a.Subject = "Key", "", "", "", "", ""
	}
	return f.api.Create(ctx, factory)
}

// push makes a revision the tip.
func (f *floor) push(ctx context.Context, revision int) error {
	_, err := f.site.Must(ctx, f.alice, "git", "push", "--quiet", f.site.RepoURL, f.commits[revision]+":refs/heads/main")
	return err
}

// followed is a revision that was pushed, when the controller was told, and when it
// said that all is done.
type followed struct {
	revision     int
	poked, ready time.Time
}

// patience is how long the controller may take for one revision.
const patience = 3 * time.Minute

// follow pushes a revision and waits until it is applied, and its record made and
// stored.
func (f *floor) follow(ctx context.Context, revision int) (followed, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := f.push(ctx, revision); err != nil {
		return followed{}, err
	}
	out := followed{revision: revision, poked: time.Now()}
	if err := f.site.Poke(ctx); err != nil {
		return out, err
	}
	err := f.seen.until(ctx, localfactory.Applied(f.commits[revision]))
	out.ready = time.Now()
	return out, err
}

// logSize is how many entries the transparency log has.
func (f *floor) logSize(ctx context.Context) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.site.Sigstore.RekorURL+"/api/v1/log", nil)
	if err != nil {
		return 0, err
	}
	resp, err := (&http.Client{Timeout: 10 * time.Second}).Do(req)
	if err != nil {
		return 0, fmt.Errorf("asking the log for its size: %w", err)
	}
	defer resp.Body.Close()
	var log struct {
		TreeSize int64 `json:"treeSize"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&log); err != nil {
		return 0, fmt.Errorf("reading the log's size: %w", err)
	}
	return log.TreeSize, nil
}
