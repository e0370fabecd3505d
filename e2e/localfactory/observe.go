package localfactory

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
)

// Client reads and writes the cluster as its administrator.
func (s *Site) Client() (client.Client, error) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return client.New(s.Cluster.Config(), client.Options{Scheme: scheme})
}

// Object names one object in a snapshot.
type Object struct {
	Resource, Namespace, Name string
}

func (o Object) String() string {
	if o.Namespace == "" {
		return o.Resource + " " + o.Name
	}
	return o.Resource + " " + o.Namespace + "/" + o.Name
}

// Seen is one object at one moment.
type Seen struct {
	UID, ResourceVersion string
	Managers             []metav1.ManagedFieldsEntry
}

// Snapshot is every object of the cluster at one moment, but for what is
// written all the time or tells of refusals: leases, events, and Factories.
type Snapshot map[Object]Seen

// passing are the resources that a snapshot leaves out, and why.
func passing() map[string]string {
	return map[string]string{
		"leases.coordination.k8s.io":               "renewed all the time by the API server itself",
		"events":                                   "a refusal is announced by an event",
		"events.events.k8s.io":                     "a refusal is announced by an event",
		"factories.millwright.dev":                 "a refusal is reported in the Factory's status",
		"flowschemas.flowcontrol.apiserver.k8s.io": "the API server writes their status when it likes",
		"prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": "the API server writes their status when it likes",
	}
}

// Snapshot reads the metadata of every object of every kind.
func (s *Site) Snapshot(ctx context.Context) (Snapshot, error) {
	resources, err := s.resources()
	if err != nil {
		return nil, err
	}
	cfg := s.Cluster.Config()
	cfg.WarningHandler = rest.NoWarnings{} // kinds that are deprecated are looked at as well
	md, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	// At once: the API server takes half a second for the first list of a kind
	// that was just defined.
	lists, errs := make([]*metav1.PartialObjectMetadataList, len(resources)), make([]error, len(resources))
	var all sync.WaitGroup
	for i, r := range resources {
		all.Go(func() { lists[i], errs[i] = md.Resource(r).List(ctx, metav1.ListOptions{}) })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("listing everything: %w", err)
	}
	out := Snapshot{}
	for i, r := range resources {
		for _, o := range lists[i].Items {
			key := Object{Resource: r.GroupResource().String(), Namespace: o.Namespace, Name: o.Name}
			out[key] = Seen{UID: string(o.UID), ResourceVersion: o.ResourceVersion, Managers: o.ManagedFields}
		}
	}
	return out, nil
}

// resources are all kinds that can be listed, but for the passing ones.
func (s *Site) resources() ([]schema.GroupVersionResource, error) {
	disco, err := discovery.NewDiscoveryClientForConfig(s.Cluster.Config())
	if err != nil {
		return nil, err
	}
	lists, err := disco.ServerPreferredResources()
	if err != nil {
		return nil, fmt.Errorf("asking the API server for its kinds: %w", err)
	}
	var out []schema.GroupVersionResource
	skip := passing()
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, r := range l.APIResources {
			gvr := gv.WithResource(r.Name)
			if _, passes := skip[gvr.GroupResource().String()]; passes || !slices.Contains(r.Verbs, "list") {
				continue
			}
			out = append(out, gvr)
		}
	}
	return out, nil
}

// Changes says what differs from the snapshot before, sorted.
func (after Snapshot) Changes(before Snapshot) []string {
	var out []string
	for o, seen := range after {
		was, there := before[o]
		switch {
		case !there:
			out = append(out, "new: "+o.String())
		case was.UID != seen.UID || was.ResourceVersion != seen.ResourceVersion:
			out = append(out, "changed: "+o.String())
		}
	}
	for o := range before {
		if _, there := after[o]; !there {
			out = append(out, "gone: "+o.String())
		}
	}
	slices.Sort(out)
	return out
}

// ManagedBy counts the objects that a field manager with the prefix has written.
func (after Snapshot) ManagedBy(prefix string) int {
	n := 0
	for _, seen := range after {
		if slices.ContainsFunc(seen.Managers, func(m metav1.ManagedFieldsEntry) bool { return strings.HasPrefix(m.Manager, prefix) }) {
			n++
		}
	}
	return n
}

// GetFactory reads the Factory.
func GetFactory(ctx context.Context, c client.Client) (*v1alpha1.Factory, error) {
	var f v1alpha1.Factory
	if err := c.Get(ctx, client.ObjectKey{Namespace: Namespace, Name: Name}, &f); err != nil {
		return nil, fmt.Errorf("reading the Factory: %w", err)
	}
	return &f, nil
}

// ErrNever is wrapped by the answer of a condition that can no longer come true.
var ErrNever = errors.New("this will not come true")

// Await reads the Factory until the condition holds. It ends early when the
// condition says ErrNever.
func Await(ctx context.Context, c client.Client, within time.Duration, holds func(*v1alpha1.Factory) error) (*v1alpha1.Factory, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	last := errors.New("the Factory was not read")
	for {
		f, err := GetFactory(ctx, c)
		if err == nil {
			err = holds(f)
		}
		if err == nil {
			return f, nil
		}
		if ctx.Err() == nil {
			last = err
		}
		if errors.Is(err, ErrNever) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waited %s in vain: %w", within, last)
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// Refused holds when the commit is refused with the reason. It will not come
// true any more once the commit is applied.
func Refused(commit, reason string) func(*v1alpha1.Factory) error {
	return func(f *v1alpha1.Factory) error {
		if a := f.Status.Applied; a != nil && a.Commit == commit {
			return fmt.Errorf("%w: commit %s was applied", ErrNever, commit)
		}
		if r := f.Status.Refused; r == nil || r.Commit != commit || r.Reason != reason {
			return fmt.Errorf("commit %s is not refused as %s: %s", commit, reason, told(f))
		}
		return nil
	}
}

// Applied holds when the commit is applied, attested, stored and Ready. It will
// not come true any more once the commit is refused.
func Applied(commit string) func(*v1alpha1.Factory) error {
	return func(f *v1alpha1.Factory) error {
		if r := f.Status.Refused; r != nil && r.Commit == commit {
			return fmt.Errorf("%w: commit %s was refused: %s (%s): %s", ErrNever, commit, r.Reason, r.Code, r.Detail)
		}
		a := f.Status.Applied
		if a == nil || a.Commit != commit || a.Attestation == "" || f.Status.Intent != nil {
			return fmt.Errorf("commit %s is not applied: %s", commit, told(f))
		}
		if ready := Condition(f, v1alpha1.ConditionReady); ready.Status != metav1.ConditionTrue {
			return fmt.Errorf("commit %s is applied, but not ready: %s", commit, told(f))
		}
		return nil
	}
}

// Condition finds a condition; one that is not there has no status.
func Condition(f *v1alpha1.Factory, name string) metav1.Condition {
	for _, c := range f.Status.Conditions {
		if c.Type == name {
			return c
		}
	}
	return metav1.Condition{Type: name}
}

func told(f *v1alpha1.Factory) string {
	ready := Condition(f, v1alpha1.ConditionReady)
	if ready.Status == "" {
		return "the Factory has no status yet"
	}
	return fmt.Sprintf("Ready is %s, %s: %s", ready.Status, ready.Reason, ready.Message)
}
