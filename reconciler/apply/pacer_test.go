package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"millwright.dev/millwright/reconciler/plan"
)

// faulty stands between an engine and its API server and injects failures.
type faulty struct {
	next http.RoundTripper
	// before may answer instead of the server; after may replace its answer.
	before func(n int64, req *http.Request) *http.Response
	after  func(n int64, req *http.Request, resp *http.Response) *http.Response

	requests, faults atomic.Int64
	mu               sync.Mutex
	active, most     int
}

func (f *faulty) RoundTrip(req *http.Request) (*http.Response, error) {
	n := f.requests.Add(1)
	f.mu.Lock()
	f.active++
	f.most = max(f.most, f.active)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.active--
		f.mu.Unlock()
	}()
	if f.before != nil {
		if resp := f.before(n, req); resp != nil {
			f.faults.Add(1)
			return resp, nil
		}
	}
	resp, err := f.next.RoundTrip(req)
	if err == nil && f.after != nil {
		if instead := f.after(n, req, resp); instead != nil {
			f.faults.Add(1)
			_ = resp.Body.Close()
			return instead, nil
		}
	}
	return resp, err
}

// mostSince is the highest number of requests under way since it was asked last.
func (f *faulty) mostSince() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	most := f.most
	f.most = f.active
	return most
}

func answer(code int, header, body string) *http.Response {
	h := http.Header{"Content-Type": []string{"application/json"}}
	if k, v, ok := strings.Cut(header, ": "); ok {
		h.Set(k, v)
	}
	return &http.Response{
		StatusCode: code, Status: http.StatusText(code), Header: h, Body: io.NopCloser(strings.NewReader(body)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
}

// faultySite has a fault injected before everything that the engine asks.
func faultySite(t *testing.T, name string, f *faulty) *site {
	t.Helper()
	s := newSite(t, name)
	s.namespace(name)
	f.next, s.pacer.next = s.pacer.next, f
	return s
}

func many(n int) string {
	docs := make([]string, n)
	for i := range docs {
		docs[i] = configMap("NAME", fmt.Sprintf("c%02d", i), "x")
	}
	return strings.Join(docs, "\n---\n")
}

func TestASlowAPIServerGetsFewerRequestsAtOnce(t *testing.T) { // row G03
	t.Parallel()
	f := &faulty{}
	s := faultySite(t, "slowserver", f)
	s.pacer.slow = 50 * time.Millisecond
	s.converge(s.component(many(40)))
	var slow atomic.Bool
	f.before = func(_ int64, req *http.Request) *http.Response {
		if slow.Load() && req.Method == http.MethodPatch {
			f.faults.Add(1)
			time.Sleep(100 * time.Millisecond)
		}
		return nil
	}
	slow.Store(true)
	m := s.component(strings.ReplaceAll(many(40), `"x"`, `"y"`))
	_, set := s.pass(m)
	if !set.Complete() || f.faults.Load() < 40 {
		t.Fatalf("%d requests were slow\n%s", f.faults.Load(), describe(set))
	}
	if n := s.pacer.under(); n > 2 {
		t.Errorf("%d requests may still be under way", n)
	}
	if most := f.mostSince(); most > s.opts.Concurrency {
		t.Errorf("%d requests were under way, at most %d may be", most, s.opts.Concurrency)
	}
	// And when it is quick again there are more again.
	slow.Store(false)
	s.pacer.slow = time.Hour
	s.converge(s.component(many(40)))
	if n := s.pacer.under(); n < 3 {
		t.Errorf("only %d requests may be under way", n)
	}
}

func TestAServerThatNeverAnswersEndsThePassAtTheDeadline(t *testing.T) { // row G03
	t.Parallel()
	f := &faulty{}
	s := faultySite(t, "neveranswers", f)
	p := s.plan(s.component(many(20)))
	s.opts.RequestTimeout = 200 * time.Millisecond
	f.before = func(_ int64, req *http.Request) *http.Response {
		if req.Method == http.MethodPatch {
			<-req.Context().Done()
			f.faults.Add(1)
		}
		return nil
	}
	if _, err := s.Apply(t.Context(), p); err == nil || f.faults.Load() == 0 {
		t.Errorf("got %v after %d faults", err, f.faults.Load())
	}
	if f.faults.Load() > int64(s.opts.Concurrency) {
		t.Errorf("%d requests were tried against a server that does not answer", f.faults.Load())
	}
}

func TestAServerThatFailsEveryWriteEndsThePass(t *testing.T) { // row G05
	t.Parallel()
	f := &faulty{}
	s := faultySite(t, "failsall", f)
	p := s.plan(s.component(many(60)))
	f.before = func(_ int64, req *http.Request) *http.Response {
		if req.Method == http.MethodPatch {
			return answer(http.StatusInternalServerError, "", `{"kind":"Status","apiVersion":"v1","status":"Failure","code":500,"message":"etcdserver: request timed out"}`)
		}
		return nil
	}
	set, err := s.Apply(t.Context(), p)
	// Without an end it would be sixty objects with four tries each.
	if n := f.faults.Load(); err == nil || set.Complete() || n == 0 || n >= 200 {
		t.Errorf("got %v after %d faults", err, n)
	}
	f.before = nil
	s.converge(s.component(many(60)))
}

const tooMany = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"TooManyRequests","code":429,"details":{"retryAfterSeconds":1}}`

func TestRetryAfterHoldsEveryRequestBack(t *testing.T) { // row G04
	t.Parallel()
	var sent []time.Time
	p := newPacer(roundTrip(func(*http.Request) (*http.Response, error) {
		sent = append(sent, time.Now())
		if len(sent) == 1 {
			return answer(http.StatusTooManyRequests, "Retry-After: 1", tooMany), nil
		}
		return answer(http.StatusOK, "", "{}"), nil
	}), 8, 16, time.Now)
	post := func() int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/", bytes.NewReader([]byte("body")))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := p.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	// Even what may not be done twice is repeated: nothing was done.
	if code := post(); code != http.StatusOK || len(sent) != 2 {
		t.Fatalf("got %d after %d requests", code, len(sent))
	}
	if d := sent[1].Sub(sent[0]); d < time.Second {
		t.Errorf("repeated after %v", d)
	}
	if n := p.under(); n != 4 {
		t.Errorf("%d requests may be under way, want half of 8", n)
	}
	// A request of somebody else in the same process waits just as long.
	p.notBefore = time.Now().Add(300 * time.Millisecond)
	until := p.notBefore
	if post(); sent[2].Before(until) {
		t.Error("another request did not wait")
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestWhatIsSentAwayNowAndThenConverges(t *testing.T) { // row G04
	t.Parallel()
	f := &faulty{}
	s := faultySite(t, "sentaway", f)
	f.before = func(n int64, _ *http.Request) *http.Response {
		if n%3 == 0 {
			return answer(http.StatusTooManyRequests, "", tooMany)
		}
		return nil
	}
	s.converge(s.component(many(20)))
	if f.faults.Load() < 5 {
		t.Errorf("only %d requests were sent away", f.faults.Load())
	}
}

func TestWhatIsSentAwayUntilTheDeadlineEndsThePass(t *testing.T) { // row G04
	t.Parallel()
	f := &faulty{}
	s := faultySite(t, "allaway", f)
	p := s.plan(s.component(many(30)))
	s.opts.RequestTimeout = 2500 * time.Millisecond
	f.before = func(_ int64, req *http.Request) *http.Response {
		if req.Method == http.MethodPatch {
			return answer(http.StatusTooManyRequests, "Retry-After: 1", tooMany)
		}
		return nil
	}
	set, err := s.Apply(t.Context(), p)
	if err == nil || set.Complete() {
		t.Fatalf("got %v\n%s", err, describe(set))
	}
	// client-go by itself would have sent each of the thirty eleven times.
	if n := f.faults.Load(); n == 0 || n > 60 {
		t.Errorf("%d requests were sent to a server that sends all away", n)
	}
	f.before = nil
	s.opts.RequestTimeout = time.Minute
	s.converge(s.component(many(30)))
}

func TestServerErrorsAndLostAnswersAreAppliedAgain(t *testing.T) { // rows G05, G06
	t.Parallel()
	codes := []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}
	for name, lost := range map[string]bool{"G05 the server did nothing": false, "G06 the server did it and the answer is lost": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &faulty{}
			s := faultySite(t, map[bool]string{false: "errors", true: "lost"}[lost], f)
			fault := func(n int64, req *http.Request) *http.Response {
				if req.Method != http.MethodPatch || n%4 != 0 {
					return nil
				}
				return answer(codes[n/4%4], "", "{}")
			}
			if f.before = fault; lost {
				f.before, f.after = nil, func(n int64, req *http.Request, _ *http.Response) *http.Response { return fault(n, req) }
			}
			set := s.converge(s.component(many(30)))
			if f.faults.Load() < 5 || set.Count()[Created] != 30 {
				t.Errorf("%d faults, %v", f.faults.Load(), set.Count())
			}
		})
	}
}

func TestAConflictOfVersionsIsTriedFiveTimesAndReported(t *testing.T) { // row G09
	t.Parallel()
	const conflict = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Conflict","code":409,"message":"the object has been modified"}`
	f := &faulty{}
	s := faultySite(t, "versions", f)
	var always, once atomic.Int64
	f.before = func(_ int64, req *http.Request) *http.Response {
		switch {
		case req.Method != http.MethodPatch:
		case strings.HasSuffix(req.URL.Path, "/always"):
			always.Add(1)
			return answer(http.StatusConflict, "", conflict)
		case strings.HasSuffix(req.URL.Path, "/once") && once.Add(1) == 1:
			return answer(http.StatusConflict, "", conflict)
		}
		return nil
	}
	_, set := s.pass(s.component(configMap("NAME", "always", "x"), configMap("NAME", "once", "x"), configMap("NAME", "never", "x")))
	got := reasons(set)
	if got["ConfigMap once"] != "created" || got["ConfigMap never"] != "created" || got["ConfigMap always"] != "failed "+ReasonServerError {
		t.Error(describe(set))
	}
	if always.Load() != 5 || once.Load() != 2 {
		t.Errorf("tried %d and %d times, want 5 and 2", always.Load(), once.Load())
	}
	if r := set.Failed(); len(r) != 1 || !r[0].Retry || !strings.Contains(r[0].Message, "has been modified") {
		t.Error(describe(set))
	}
}

func TestWhatIsWrongWithTheObjectIsNotTakenForLoad(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		method, body string
		code, sent   int
		under        int
	}{
		"a webhook that cannot be called": {http.MethodPatch, `{"message":"failed calling webhook \"x\""}`, 500, 1, 8},
		"a value of the wrong type":       {http.MethodPatch, `{"message":"failed to create typed patch object"}`, 500, 1, 8},
		"a server error":                  {http.MethodPatch, `{"message":"etcdserver: leader changed"}`, 500, 4, 1},
		"one after making an object":      {http.MethodPost, `{"message":"etcdserver: leader changed"}`, 500, 1, 4},
		"no right":                        {http.MethodPatch, `{}`, 403, 1, 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sent := 0
			p := newPacer(roundTrip(func(req *http.Request) (*http.Response, error) {
				sent++
				if raw, err := io.ReadAll(req.Body); err != nil || string(raw) != "body" {
					t.Errorf("try %d sent %q, %v", sent, raw, err)
				}
				return answer(row.code, "Retry-After: 0", row.body), nil
			}), 8, 16, time.Now)
			req, err := http.NewRequestWithContext(t.Context(), row.method, "http://127.0.0.1/", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/apply-patch+yaml")
			resp, err := p.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if raw, err := io.ReadAll(resp.Body); err != nil || string(raw) != row.body {
				t.Errorf("the answer is %q, %v", raw, err)
			}
			if sent != row.sent || p.under() != row.under {
				t.Errorf("sent %d times, %d may be under way; want %d and %d", sent, p.under(), row.sent, row.under)
			}
		})
	}
}

func TestAWaitForAPlaceEndsWithItsContext(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	p := newPacer(roundTrip(func(*http.Request) (*http.Response, error) {
		<-hold
		return answer(http.StatusOK, "", "{}"), nil
	}), 1, 1, time.Now)
	get := func(ctx context.Context, query string) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1/"+query, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := p.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	first := make(chan error)
	go func() { first <- get(context.WithoutCancel(t.Context()), "") }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for p.inFlight() == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := get(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	// A watch takes no place.
	watching := make(chan error)
	go func() { watching <- get(context.WithoutCancel(t.Context()), "?watch=true") }()
	close(hold)
	if err := errors.Join(<-first, <-watching); err != nil {
		t.Error(err)
	}
}

func (p *pacer) inFlight() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.active
}

func TestAnObjectTooLargeForEtcdIsNamedWithTheLimit(t *testing.T) { // row G22
	t.Parallel()
	s := newSite(t, "toolarge")
	s.namespace("toolarge")
	loose := strings.Replace(definition, "properties:\n          spec: {type: object, properties: {stones: {type: integer, maximum: 9}}}",
		"x-kubernetes-preserve-unknown-fields: true\n        properties:", 1)
	large := strings.Replace(custom, "spec: {stones: 2}", "spec: {text: "+strings.Repeat("x", 3<<19-300)+"}", 1)
	_, set := s.pass(s.component(loose, large, configMap("NAME", "small", "x")))
	f := set.Failed()
	if len(f) != 1 || f[0].ID.Kind != "Mill" || f[0].Reason != ReasonTooLarge || f[0].Retry {
		t.Fatal(describe(set))
	}
	if !strings.Contains(f[0].Message, "1.5 MiB") || len(f[0].Message) > 1024 || s.get(configMaps, "toolarge", "small") == nil {
		t.Errorf("got %q", f[0].Message)
	}
}

func TestANamespaceThatNeverTerminatesIsNamedAndTheRestConverges(t *testing.T) { // row H12
	t.Parallel()
	s := newSite(t, "undying")
	s.converge(s.component(namespaceDoc("NAME"), namespaceDoc("NAME-two"), configMap("NAME", "a", "x"), configMap("NAME-two", "b", "x")))
	// No controller empties namespaces here: this one stays as it is.
	s.remove(namespaces, "", "undying-two")
	if ns := s.get(namespaces, "", "undying-two"); ns.GetDeletionTimestamp() == nil {
		t.Fatal("the fault did not occur")
	}
	s.remove(configMaps, "undying-two", "b")
	_, set := s.pass(s.component(namespaceDoc("NAME"), namespaceDoc("NAME-two"), configMap("NAME", "a", "y"), configMap("NAME-two", "b", "x")))
	got := reasons(set)
	want := map[string]string{
		"Namespace undying-two": "waiting " + plan.ReasonTerminating, "ConfigMap b": "failed " + ReasonNamespaceMissing, "ConfigMap a": "updated",
	}
	for object, is := range want {
		if got[object] != is {
			t.Errorf("%s is %q, want %q\n%s", object, got[object], is, describe(set))
		}
	}
	if set.Complete() {
		t.Error("the set claims to be complete")
	}
	// Pruned, it stays in the inventory for as long as it is there.
	p, err := s.tryPlan(t.Context(), s.component(namespaceDoc("NAME"), configMap("NAME", "a", "y")), plan.Limits{MaxPrune: 9, MaxPrunePercent: 100, AllowProtected: true})
	if err != nil {
		t.Fatal(err)
	}
	set, err = s.Apply(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if got := reasons(set)["Namespace undying-two"]; got != "waiting "+plan.ReasonTerminating || set.Complete() {
		t.Error(describe(set))
	}
}
