package reconciler_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
)

// spoiled stands before the real log and spoils answers to new entries.
type spoiled struct {
	*httptest.Server
	// asked counts new entries, answer is what becomes of the next ones.
	asked  atomic.Int32
	answer atomic.Pointer[func(w http.ResponseWriter, r *http.Request, pass http.Handler)]
}

func newSpoiled(t *testing.T, target string) *spoiled {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	s := &spoiled{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			s.asked.Add(1)
			if answer := s.answer.Load(); answer != nil {
				(*answer)(w, r, pass)
				return
			}
		}
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func status(code int) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(code)
	}
}

// lost has the log take the entry, and nobody hears of it.
func lost(_ http.ResponseWriter, r *http.Request, pass http.Handler) {
	pass.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

func TestALogThatFailsLeavesOneRecordInTheEnd(t *testing.T) {
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request, http.Handler){
		"J02 it says that it is too much":   status(http.StatusTooManyRequests),
		"J02 it fails":                      status(http.StatusInternalServerError),
		"J02 it is away behind its gateway": status(http.StatusBadGateway),
		"J03 its answer got lost":           lost,
		"J10 its disk is full":              status(http.StatusInsufficientStorage),
	} {
		for version, url := range map[int32]string{1: sigstoretest.Shared(t).RekorURL, 2: sigstoretest.SharedTiles(t)} {
			t.Run(fmt.Sprintf("%s, Rekor %d", name, version), func(t *testing.T) { logFails(t, version, url, answer) })
		}
	}
}

func logFails(t *testing.T, version int32, url string, answer func(http.ResponseWriter, *http.Request, http.Handler)) {
	p := newPlant(t)
	log := newSpoiled(t, url)
	p.keyless(func(s *v1alpha1.AttestSpec) { s.Rekor, s.RekorVersion = log.URL, version })
	p.commit(alice, "good")
	log.answer.Store(&answer)
	f := p.pass()
	if conditionOf(f, v1alpha1.ConditionAttested).Status == metav1.ConditionTrue || len(p.records()) != 0 || log.asked.Load() == 0 {
		t.Fatalf("without the log's word: %+v, %d records", conditionOf(f, v1alpha1.ConditionAttested), len(p.records()))
	}
	if value, _ := p.settings(); value != "one" {
		t.Errorf("it is not applied: %q", value)
	}
	log.answer.Store(nil)
	p.applied()
	if n := len(p.records()); n != 1 {
		t.Errorf("%d records", n)
	}
	spec := p.attestSpec()
	p.wholeBy(attest.Policy{Identity: attest.Identity{Issuer: spec.Issuer, Subject: spec.Subject}})
}
