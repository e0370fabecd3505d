package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/audit"
	"millwright.dev/millwright/reconciler/source"
)

// gathering says where evidence is gathered.
type gathering struct {
	cluster

	repo, registry string
}

func (g *gathering) add(cmd *cobra.Command) {
	g.cluster.add(cmd)
	cmd.Flags().StringVar(&g.repo, "repo", "", "`directory` of a repository with the commits (default: the Factory's source, or what the export has)")
	cmd.Flags().StringVar(&g.registry, "registry", "", "`repository` of a registry with records that the cluster does not keep any more (default: that of the Factory)")
}

// gather reads all that a factory left behind: its records from the cluster, its
// commits from a repository.
func (g *gathering) gather(ctx context.Context, dir, name string) (audit.Evidence, error) {
	_, k, err := g.connect()
	if err != nil {
		return audit.Evidence{}, err
	}
	key := client.ObjectKey{Namespace: g.namespace, Name: name}
	var factory v1alpha1.Factory
	if err := k.Get(ctx, key, &factory); err != nil {
		return audit.Evidence{}, fmt.Errorf("reading the Factory: %w", err)
	}
	uid, err := clusterUID(ctx, k)
	if err != nil {
		return audit.Evidence{}, err
	}
	chain, err := reconciler.Chain(ctx, k, key)
	if err != nil {
		return audit.Evidence{}, err
	}
	e := audit.Evidence{
		Factory: attest.Factory{Namespace: g.namespace, Name: name}, ClusterUID: uid, Records: reconciler.Records(chain),
		Repository: factory.Spec.Source.URL, Ref: factory.Spec.Source.Ref, Mainline: factory.Spec.Source.Mainline,
		Anchor: gitverify.ID(factory.Spec.Verify.Anchor),
	}
	if applied := factory.Status.Applied; applied != nil {
		e.Head = applied.Attestation
	}
	if err := g.older(ctx, &e, factory.Spec.Attest.Repository); err != nil {
		return e, err
	}
	history, err := g.history(ctx, dir, &factory)
	if err != nil {
		return e, err
	}
	e.Objects = history
	return e, nil
}

func clusterUID(ctx context.Context, k client.Client) (string, error) {
	var system corev1.Namespace
	if err := k.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, &system); err != nil {
		return "", fmt.Errorf("asking which cluster this is: %w", err)
	}
	return string(system.UID), nil
}

// older fetches the records that the cluster does not keep any more, by what its
// oldest says of the one before. Where that ends early, the audit says so.
func (g *gathering) older(ctx context.Context, e *audit.Evidence, otherwise string) error {
	if len(e.Records) == 0 || e.Records[0].Previous == "" || cmp.Or(g.registry, otherwise) == "" {
		return nil
	}
	repository, err := attest.OpenRepository(cmp.Or(g.registry, otherwise), attest.RepositoryOptions{Keychain: authn.DefaultKeychain})
	if err != nil {
		return usageError{fmt.Errorf("--registry: %w", err)}
	}
	found, err := repository.Walk(ctx, e.Records[0].Previous)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		e.Damage = append(e.Damage, audit.Finding{
			Check: audit.CheckExport, Answer: audit.Unknown, Code: audit.CodeStoreUnreadable, Sequence: e.Records[0].Sequence - 1 - int64(len(found)),
			Detail: err.Error(), Hint: "see whether the registry answers and has this record; an export that was made earlier may have it",
		})
	}
	e.Records = append(found, e.Records...)
	return nil
}

// history is the repository that is named, or a copy of the Factory's source.
func (g *gathering) history(ctx context.Context, dir string, factory *v1alpha1.Factory) (*source.Store, error) {
	if g.repo != "" {
		return g.local()
	}
	store, err := source.Open(filepath.Join(dir, "fetched.git"))
	if err != nil {
		return nil, err
	}
	spec := factory.Spec.Source
	if _, err := store.Fetch(ctx, source.Remote{URL: spec.URL, Ref: spec.Ref, Timeout: spec.Timeout.Duration}); err != nil {
		return nil, fmt.Errorf("fetching the commits from %s, for want of --repo: %w", spec.URL, err)
	}
	return store, nil
}

func (g *gathering) local() (*source.Store, error) {
	store, err := source.OpenLocal(g.repo)
	if err != nil {
		return nil, local(err)
	}
	return store, nil
}
