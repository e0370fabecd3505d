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
	// plain are hosts of registries that are asked without TLS.
	plain []string
	// store is the registry of the factory, once it is known; nil: there is none.
	store *attest.Repository
	// client is the cluster's, factory what it has of the Factory that is named.
	client  client.Client
	named   client.ObjectKey
	factory v1alpha1.Factory
}

func (g *gathering) add(cmd *cobra.Command) {
	g.cluster.add(cmd)
	cmd.Flags().StringVar(&g.repo, "repo", "", "`directory` of a repository with the commits (default: the Factory's source, or what the export has)")
	cmd.Flags().StringVar(&g.registry, "registry", "", "`repository` of a registry with records that the cluster does not keep any more (default: that of the Factory)")
	cmd.Flags().StringSliceVar(&g.plain, "plain-http-hosts", nil, "exact `hosts` of registries, with their port if they have one, that may be asked without TLS: for a factory on one machine")
}

// gather reads all that a factory left behind: its records from the cluster, its
// commits from a repository.
func (g *gathering) gather(ctx context.Context, dir, name string) (audit.Evidence, error) {
	e, err := g.records(ctx, name)
	if err != nil {
		return e, err
	}
	if err := g.verdicts(ctx, &e); err != nil {
		return e, err
	}
	history, err := g.history(ctx, dir)
	if err != nil {
		return e, err
	}
	e.Objects = history
	return e, nil
}

// records reads the chain: what the cluster has, and what is older from the
// registry.
func (g *gathering) records(ctx context.Context, name string) (audit.Evidence, error) {
	_, k, err := g.connect()
	if err != nil {
		return audit.Evidence{}, err
	}
	g.client, g.named = k, client.ObjectKey{Namespace: g.namespace, Name: name}
	if err := k.Get(ctx, g.named, &g.factory); err != nil {
		return audit.Evidence{}, fmt.Errorf("reading the Factory: %w", err)
	}
	uid, err := clusterUID(ctx, k)
	if err != nil {
		return audit.Evidence{}, err
	}
	chain, err := reconciler.Chain(ctx, k, g.named)
	if err != nil {
		return audit.Evidence{}, err
	}
	spec := g.factory.Spec
	e := audit.Evidence{
		Factory: attest.Factory{Namespace: g.namespace, Name: name}, ClusterUID: uid, Records: reconciler.Records(chain),
		Repository: spec.Source.URL, Ref: spec.Source.Ref, Mainline: spec.Source.Mainline, Anchor: gitverify.ID(spec.Verify.Anchor),
	}
	if applied := g.factory.Status.Applied; applied != nil {
		e.Head = applied.Attestation
	}
	if name := cmp.Or(g.registry, spec.Attest.Repository); name != "" {
		if g.store, err = attest.OpenRepository(name, attest.RepositoryOptions{Keychain: authn.DefaultKeychain, Plain: g.plain}); err != nil {
			return e, usageError{fmt.Errorf("--registry: %w", err)}
		}
	}
	return e, g.older(ctx, &e)
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
func (g *gathering) older(ctx context.Context, e *audit.Evidence) error {
	if len(e.Records) == 0 || e.Records[0].Previous == "" || g.store == nil {
		return nil
	}
	found, err := g.store.Walk(ctx, e.Records[0].Previous)
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

// verdicts gathers what the records name as decided before the first write: from
// the cluster, and what it does not keep any more from the registry. What is
// nowhere is found missing by the audit.
func (g *gathering) verdicts(ctx context.Context, e *audit.Evidence) error {
	found, err := reconciler.Companions(ctx, g.client, g.named)
	if err != nil {
		return err
	}
	e.Companions = map[string]string{}
	for _, r := range e.Records {
		s, err := attest.UnsafeStatement([]byte(r.Bundle))
		if err != nil || s.Enforcement != nil {
			continue // the audit says what is wrong with it
		}
		for _, in := range s.Predicate.Inputs {
			if bundle, ok := found[in.Attestation]; ok {
				e.Companions[in.Attestation] = bundle
				continue
			}
			if g.store == nil {
				continue
			}
			bundle, err := g.store.Bundle(ctx, in.Attestation)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil {
				e.Companions[in.Attestation] = string(bundle.JSON)
			}
		}
	}
	return nil
}

// newest fetches what the registry has of the newest record: its manifests, and
// the lists of what is owned and what was changed. Older ones can be rendered
// again. What is not there is no evidence less; the error says what it was.
func (g *gathering) newest(ctx context.Context, e audit.Evidence) (manifests, lists [][]byte, err error) {
	if g.store == nil || len(e.Records) == 0 {
		return nil, nil, nil
	}
	s, err := attest.UnsafeStatement([]byte(e.Records[len(e.Records)-1].Bundle))
	if err != nil {
		return nil, nil, err
	}
	file, err := g.store.Manifests(ctx, s.Artifact())
	if err != nil {
		return nil, nil, err
	}
	manifests = append(manifests, file)
	wanted := []string{s.Inventory()}
	if s.Enforcement == nil && s.Predicate.Changes.Objects != s.Inventory() {
		wanted = append(wanted, s.Predicate.Changes.Objects)
	}
	for _, digest := range wanted {
		list, err := g.store.List(ctx, digest)
		if err != nil {
			return manifests, lists, err
		}
		lists = append(lists, list.Content())
	}
	return manifests, lists, nil
}

// history is the repository that is named, or a copy of the Factory's source.
func (g *gathering) history(ctx context.Context, dir string) (*source.Store, error) {
	if g.repo != "" {
		return g.local()
	}
	store, err := source.Open(filepath.Join(dir, "fetched.git"))
	if err != nil {
		return nil, err
	}
	spec := g.factory.Spec.Source
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
