package apply

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The pacer decides how many requests are under way, and repeats those that the
// API server could not serve. It stands between client-go and the connection, so
// that every request of the engine passes it and nobody else retries: client-go
// would repeat what carries Retry-After up to ten times by itself, without
// jitter and without telling anybody, so that header ends here.
//
// The number follows the API server by additive increase and multiplicative
// decrease. There is no rate limit of our own: priority and fairness decides
// there, and says so with 429. One such answer holds back all requests until its
// time has come.
const (
	fewest = 1
	// tries of one request. Answers that say that nothing was done may be repeated
	// as long as the request's deadline allows.
	tries = 4
	// firstBackoff doubles with each try, and half of it is random.
	firstBackoff = 100 * time.Millisecond
	longest      = 8 * time.Second
	// slowest is what a request takes at most that waited nowhere: a definition
	// takes the server under a second, all webhooks of a request together may
	// take 30.
	slowest = 4 * time.Second
	// maxTold bounds what is read of an answer that is not passed on.
	maxTold = 64 << 10
)

type pacer struct {
	next  http.RoundTripper
	clock func() time.Time
	most  int
	// slow is a request that waited somewhere; see slowest.
	slow time.Duration

	mu sync.Mutex
	// limit is a fraction so that it can grow by less than one per answer.
	limit  float64
	active int
	wake   chan struct{}
	// notBefore is when the API server wants to hear from us again.
	notBefore time.Time
	// lowered is when the limit was lowered last: answers to requests that were
	// sent before tell of the load that was lowered already.
	lowered time.Time
}

func newPacer(next http.RoundTripper, start, most int, clock func() time.Time) *pacer {
	return &pacer{next: next, clock: clock, most: most, slow: slowest, limit: float64(start), wake: make(chan struct{})}
}

// RoundTrip sends a request, and again where that is safe and may help.
func (p *pacer) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Query().Get("watch") == "true" {
		return p.next.RoundTrip(req) // lives for minutes and costs nothing meanwhile
	}
	for try := 1; ; try++ {
		attempt, err := again(req, try)
		if err != nil {
			return nil, err
		}
		sent, err := p.acquire(req.Context())
		if err != nil {
			return nil, err
		}
		resp, err := p.next.RoundTrip(attempt)
		v := judgeAnswer(req, resp, err)
		p.release(sent, v)
		if !v.repeat || !v.undone && try >= tries || !p.rest(req.Context(), try, v) {
			return settle(req, resp, err)
		}
		if resp != nil {
			_, _ = io.CopyN(io.Discard, resp.Body, maxTold)
			_ = resp.Body.Close()
		}
	}
}

// again makes the request of a try: its body has to be read from the start.
func again(req *http.Request, try int) (*http.Request, error) {
	if try == 1 || req.Body == nil {
		return req, nil
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	out := req.Clone(req.Context())
	out.Body = body
	return out, nil
}

// verdict is what an answer says about the server's load, and about repeating.
type verdict struct {
	overload, repeat bool
	// undone says that the server did nothing, whatever the request was.
	undone bool
	after  time.Duration
}

func judgeAnswer(req *http.Request, resp *http.Response, err error) verdict {
	rewind := req.Body == nil || req.GetBody != nil
	if err != nil {
		// Whether it was done is not known (G06): only what may be done twice is.
		return verdict{overload: req.Context().Err() == nil, repeat: rewind && idempotent(req) && req.Context().Err() == nil}
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
		return verdict{overload: true, repeat: rewind, undone: true, after: retryAfter(resp)}
	case http.StatusInternalServerError:
		if aboutTheObject(resp) {
			return verdict{}
		}
		return verdict{overload: true, repeat: rewind && idempotent(req)}
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return verdict{overload: true, repeat: rewind && idempotent(req), after: retryAfter(resp)}
	}
	return verdict{}
}

// idempotent says whether a request may be carried out twice: reading, applying,
// and deleting an object of a known UID.
func idempotent(req *http.Request) bool {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodDelete:
		return true
	case http.MethodPatch:
		return strings.Contains(req.Header.Get("Content-Type"), "apply-patch")
	}
	return false
}

// aboutTheObject says whether an internal error is one that comes of what was
// sent: a webhook that cannot be called, a value of the wrong type. The body is
// put back.
func aboutTheObject(resp *http.Response) bool {
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxTold))
	rest := io.Reader(resp.Body)
	if err != nil {
		rest = failing{err}
	}
	resp.Body = rewound{io.MultiReader(bytes.NewReader(head), rest), resp.Body}
	for _, text := range []string{"webhook", "failed to create typed patch object", "conversion"} {
		if bytes.Contains(head, []byte(text)) {
			return true
		}
	}
	return false
}

type rewound struct {
	io.Reader
	io.Closer
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func retryAfter(resp *http.Response) time.Duration {
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds <= 0 {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, time.Minute)
}

// settle hands an answer on, without what would make client-go repeat it: the
// header of an answer, and the kind of an error of the connection.
func settle(req *http.Request, resp *http.Response, err error) (*http.Response, error) {
	switch {
	case err != nil && req.Context().Err() == nil:
		return nil, errors.New(err.Error())
	case err != nil:
		return nil, err
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError:
		resp.Header.Del("Retry-After")
	}
	return resp, nil
}

// acquire waits for a place among the requests under way.
func (p *pacer) acquire(ctx context.Context) (time.Time, error) {
	for {
		p.mu.Lock()
		now := p.clock()
		until := p.notBefore.Sub(now)
		if until <= 0 && (p.active < int(p.limit) || p.active < fewest) {
			p.active++
			p.mu.Unlock()
			return now, nil
		}
		wake := p.wake
		p.mu.Unlock()
		if !pauseOr(ctx, until, wake) {
			return time.Time{}, ctx.Err()
		}
	}
}

// pauseOr waits for a time to pass, if there is one, or else for wake.
func pauseOr(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	if d > 0 {
		return pause(ctx, d)
	}
	select {
	case <-ctx.Done():
		return false
	case <-wake:
		return true
	}
}

// release gives the place back and learns from the answer.
func (p *pacer) release(sent time.Time, v verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.clock()
	if v.after > 0 {
		if at := now.Add(v.after); at.After(p.notBefore) {
			p.notBefore = at
		}
	}
	switch {
	case v.overload || now.Sub(sent) > p.slow:
		if !sent.Before(p.lowered) {
			p.limit, p.lowered = max(p.limit/2, fewest), now
		}
	case p.active >= int(p.limit):
		// Only a limit that was reached says that more would have been well.
		p.limit = min(p.limit+1/p.limit, float64(p.most))
	}
	p.active--
	close(p.wake)
	p.wake = make(chan struct{})
}

// rest waits before the next try. It says no where the request's deadline would
// come first: then the answer that there is, is better than none.
func (p *pacer) rest(ctx context.Context, try int, v verdict) bool {
	d := max(min(firstBackoff<<min(try-1, 10), longest), v.after)
	d += time.Duration(jitter() * float64(d) / 2)
	if deadline, ok := ctx.Deadline(); ok && deadline.Sub(p.clock()) < d {
		return false
	}
	return pause(ctx, d)
}

// jitter is a random number from 0 to 1, so that many clients which were sent
// away at once do not come back at once.
func jitter() float64 {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails
	return float64(uint16(b[0])<<8|uint16(b[1])) / (1 << 16)
}

// under says how many requests may be under way now.
func (p *pacer) under() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int(p.limit)
}
