package reconciler_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
)

func records(p *plant) []attest.Record { return reconciler.Records(p.records()) }

func TestEveryRecordReachesTheRegistryInTheEnd(t *testing.T) { // rows J09, J10
	for name, answer := range map[string]int{"it is away": http.StatusServiceUnavailable, "its disk is full": http.StatusInsufficientStorage} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			var down atomic.Bool
			serve := registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if down.Load() {
					w.WriteHeader(answer)
					return
				}
				serve.ServeHTTP(w, r)
			}))
			t.Cleanup(srv.Close)
			name := strings.TrimPrefix(srv.URL, "http://") + "/factory/rendered"
			p.attestAt(func(s *v1alpha1.AttestSpec) { s.Repository = name })
			down.Store(true)
			for _, value := range []string{"one", "two", "three"} {
				p.setConfig(value)
				p.commit(alice, value)
				f := p.pass()
				if now, _ := p.settings(); now != value {
					t.Fatalf("the registry kept %q from being applied: %+v", value, f.Status.Conditions)
				}
			}
			p.restart() // what waits is in the cluster, and not in memory
			p.late += 7 * time.Hour
			p.pass()
			if n := len(p.records()); n != 4 {
				t.Fatalf("%d records in the cluster, want three revisions and a heartbeat", n)
			}
			down.Store(false)
			p.pass()
			p.applied()
			repository, err := attest.OpenRepository(name, attest.RepositoryOptions{})
			p.must(err)
			for _, r := range p.records() {
				if !r.Status.Stored {
					t.Errorf("record %d is not stored", r.Spec.Sequence)
					continue
				}
				_, digest, _ := strings.Cut(r.Status.Reference, "@")
				bundles, err := repository.Bundles(t.Context(), digest)
				p.must(err)
				found := map[string]bool{}
				for _, b := range bundles {
					found[b.Digest] = true
				}
				if !found[r.Spec.Digest] {
					t.Errorf("record %d is said to be stored, and its bundle is not there", r.Spec.Sequence)
				}
				for _, in := range p.statement(int(r.Spec.Sequence) - 1).Predicate.Inputs {
					if !found[in.Attestation] {
						t.Errorf("record %d names a %s that is not in the registry", r.Spec.Sequence, in.PredicateType)
					}
				}
			}
			p.auditIsClean(3)
		})
	}
}
