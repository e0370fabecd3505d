package reconciler_test

import (
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
)

// What the registry has need not stay in the cluster for ever; what it has not
// stays, however much there is.
func TestTheClusterKeepsTheNewestRecordsOnceTheRegistryHasThem(t *testing.T) {
	const keep, revisions = 10, 14
	const kept = keep + 1 // the newest is counted when its status is stored
	p := newPlant(t)
	srv := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(srv.Close)
	name := strings.TrimPrefix(srv.URL, "http://") + "/factory/rendered"
	p.attestAt(func(s *v1alpha1.AttestSpec) { s.Repository, s.Keep = "", keep })
	revise := func(from, to int) {
		t.Helper()
		for i := from; i <= to; i++ {
			p.setConfig(fmt.Sprint(i))
			p.commit(alice, fmt.Sprint(i))
			p.applied()
		}
	}
	revise(1, keep+2)
	if n := len(p.records()); n != keep+2 {
		t.Fatalf("%d records are in the cluster, and nowhere else are any", n)
	}
	p.attestAt(func(s *v1alpha1.AttestSpec) { s.Repository, s.Keep = name, keep })
	p.restart()
	revise(keep+3, revisions)

	records := p.records()
	if len(records) != kept || records[0].Spec.Sequence != revisions-kept+1 {
		t.Fatalf("%d records, the first is %d", len(records), records[0].Spec.Sequence)
	}
	var all v1alpha1.AppliedRevisionList
	p.must(p.client.List(t.Context(), &all, client.InNamespace(p.namespace)))
	if len(all.Items) != 2*kept {
		t.Errorf("%d objects: %d records with a verdict each are kept", len(all.Items), kept)
	}
	repository, err := attest.OpenRepository(name, attest.RepositoryOptions{})
	p.must(err)
	older, err := repository.Walk(t.Context(), records[0].Spec.Previous)
	p.must(err)
	if len(older) != revisions-kept {
		t.Errorf("the registry has %d of the %d that are gone", len(older), revisions-kept)
	}
	// A process that comes anew goes on with what is there.
	p.restart()
	p.setConfig("another")
	p.commit(alice, "another")
	p.applied()
	if records := p.records(); len(records) != kept || records[kept-1].Spec.Sequence != revisions+1 {
		t.Errorf("after a restart: %d records, the newest is %d", len(records), records[len(records)-1].Spec.Sequence)
	}

	// One that somebody says is not stored is stored again before it goes.
	oldest := p.records()[0]
	oldest.Status = v1alpha1.AppliedRevisionStatus{}
	p.must(p.client.Status().Update(t.Context(), &oldest))
	p.attestAt(func(s *v1alpha1.AttestSpec) { s.Repository = name + "-2" })
	revise(revisions+2, revisions+3)
	second, err := attest.OpenRepository(name+"-2", attest.RepositoryOptions{})
	p.must(err)
	if found, _ := second.Walk(t.Context(), oldest.Spec.Digest); len(found) == 0 {
		t.Error("it was not")
	}
	if records := p.records(); len(records) != kept || records[0].Spec.Sequence != oldest.Spec.Sequence+2 {
		t.Errorf("%d records, the first is %d", len(records), records[0].Spec.Sequence)
	}
	// What only has the name of a newer one is none.
	other := p.records()[kept-1]
	other = v1alpha1.AppliedRevision{Spec: other.Spec}
	other.Spec.Type = v1alpha1.RecordRefused
	other.Namespace, other.Name = p.namespace, v1alpha1.AppliedRevisionName("factory", revisions+100)
	p.must(p.client.Create(t.Context(), &other))
	p.restart()
	revise(revisions+4, revisions+4)
}
