package faultproxy

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Fault is what happens to a request.
type Fault struct {
	name string
	do   func(*Exchange)
}

// Drop ends the request before the API server hears of it.
func Drop() Fault { return Fault{"drop", func(*Exchange) { abort() }} }

// LoseAnswer lets the API server carry the request out, and resets the stream
// instead of answering: the client cannot know what happened.
func LoseAnswer() Fault {
	return Fault{"lose answer", func(x *Exchange) {
		answer := x.Ask()
		defer answer.Body.Close()
		_, _ = io.Copy(io.Discard, answer.Body)
		abort()
	}}
}

// Delay passes the request on after a while.
func Delay(d time.Duration) Fault {
	return Fault{"delay", func(x *Exchange) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-x.r.Context().Done():
			abort()
		}
		x.Forward()
	}}
}

// Hold passes the request on once the channel is closed.
func Hold(until <-chan struct{}) Fault { return HoldCalling(until, func() {}) }

// HoldCalling says that it holds a request, and then does.
func HoldCalling(until <-chan struct{}, call func()) Fault {
	return Fault{"hold", func(x *Exchange) {
		call()
		select {
		case <-until:
		case <-x.r.Context().Done():
			abort()
		}
		x.Forward()
	}}
}

// Before calls a function and ends the request; the API server never hears of it.
func Before(call func()) Fault {
	return Fault{"before", func(*Exchange) {
		call()
		abort()
	}}
}

// After calls a function when the API server has carried the request out; the
// client never hears of it.
func After(call func()) Fault {
	return Fault{"after", func(x *Exchange) {
		answer := x.Ask()
		defer answer.Body.Close()
		_, _ = io.Copy(io.Discard, answer.Body)
		call()
		abort()
	}}
}

// Answer gives a status of the API server without asking it. A retry after 0 s
// is none.
func Answer(code int, reason metav1.StatusReason, message string, retryAfter int) Fault {
	return Fault{"answer " + strconv.Itoa(code), func(x *Exchange) {
		body, err := json.Marshal(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
			Code: int32(code), Reason: reason, Message: message,
		})
		if err != nil {
			abort()
		}
		if retryAfter > 0 {
			x.w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
		}
		x.raw(code, "application/json", body)
	}}
}

// Busy is what priority and fairness answers.
func Busy(retryAfter int) Fault {
	return Answer(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "too many requests, please try again later", retryAfter)
}

// Garbage lets the API server carry the request out and answers with what is no
// JSON, though it says so.
func Garbage() Fault {
	return Fault{"garbage", func(x *Exchange) {
		answer := x.Ask()
		defer answer.Body.Close()
		x.raw(http.StatusOK, "application/json", []byte(`{"kind":"ConfigMap","metadata":{"name":`))
	}}
}

// Page lets the API server carry the request out and answers as a proxy with a
// page of its own does.
func Page() Fault {
	return Fault{"page", func(x *Exchange) {
		answer := x.Ask()
		defer answer.Body.Close()
		x.raw(http.StatusOK, "text/html", []byte("<html><body>Welcome to the network</body></html>"))
	}}
}

// Truncate cuts the answer off in the middle, and ends it as if that were all.
func Truncate() Fault {
	return Fault{"truncate", func(x *Exchange) {
		x.r.Header.Del("Accept-Encoding")
		answer := x.Ask()
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			abort()
		}
		x.begin(answer)
		x.send(body[:len(body)/2])
	}}
}

func (x *Exchange) raw(code int, contentType string, body []byte) {
	x.w.Header().Set("Content-Type", contentType)
	x.w.WriteHeader(code)
	x.send(body)
}

// Stale remembers the first answer to each question, and gives it again to all
// who ask later, as an API server with an old cache does.
func Stale() Fault {
	type kept struct {
		header http.Header
		code   int
		body   []byte
	}
	var mu sync.Mutex
	answers := map[string]kept{}
	return Fault{"stale", func(x *Exchange) {
		key := x.r.URL.String() + " " + x.r.Header.Get("Accept")
		mu.Lock()
		defer mu.Unlock()
		old, ok := answers[key]
		if !ok {
			x.r.Header.Del("Accept-Encoding")
			answer := x.Ask()
			defer answer.Body.Close()
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				abort()
			}
			old = kept{answer.Header.Clone(), answer.StatusCode, body}
			answers[key] = old
		}
		maps.Copy(x.w.Header(), old.header)
		x.w.Header().Del("Content-Length")
		x.w.WriteHeader(old.code)
		x.send(old.body)
	}}
}
