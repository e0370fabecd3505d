package attest

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// A server may close a connection that was idle in the moment in which it is used
// again: whoever is asked for a certificate or a timestamp is asked again then.
func TestAConnectionThatEndsWhileItIsUsedAgainIsMadeAgain(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "question" || len(r.Header["X-Idempotency-Key"]) > 0 {
			t.Errorf("asked was %q with %v: %v", body, r.Header, err)
		}
		if asked.Add(1) != 2 {
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			err = conn.Close()
		}
		if err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	client := http.Client{Transport: Services{Transport: &http.Transport{}}.transport(t.Context())}
	for range 2 {
		resp, err := client.Post(server.URL, "application/timestamp-query", bytes.NewReader([]byte("question")))
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	if asked.Load() != 3 {
		t.Errorf("it was asked %d times, want 3", asked.Load())
	}
}
