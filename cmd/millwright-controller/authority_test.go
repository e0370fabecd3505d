package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// TestAnAPIServerWithAnotherAuthorityIsBelievedWhenTheFileSaysSo gives the API
// server a certificate that nobody knows, then a broken bundle to the controller,
// then the right one. The process is the same all the while.
func TestAnAPIServerWithAnotherAuthorityIsBelievedWhenTheFileSaysSo(t *testing.T) { // rows G12, K21
	t.Parallel()
	w := newWorld(t, "authority", nil)
	access := w.proxy.Config()
	w.must(os.WriteFile(w.path("ca.pem"), access.CAData, 0o600))
	access.TLSClientConfig = rest.TLSClientConfig{CAFile: w.path("ca.pem")}
	w.must(w.cluster.WriteKubeconfig(w.path("kubeconfig"), access))
	commit := w.revise("one", small)
	running := w.start(nil, "--leader-elect=false")
	w.applied(commit)

	next, err := w.proxy.Rotate()
	w.must(err)
	w.proxy.Forget()
	w.edit("c-05", "drifted")
	w.until("it was shown the new certificate", func() bool { return w.proxy.Shown() > 2 })
	w.must(os.WriteFile(w.path("ca.pem"), []byte("-----BEGIN CERTIFICATE-----\n"), 0o600))
	shown := w.proxy.Shown()
	w.until("it was shown it again", func() bool { return w.proxy.Shown() > shown+2 })
	if n := len(w.proxy.Log()); n != 0 || w.values()["drifted"] != 1 {
		t.Fatalf("%d requests were sent to a server with an unknown certificate", n)
	}
	if !strings.Contains(w.log(50), "certificate signed by unknown authority") {
		t.Errorf("the log does not say what is wrong:\n%s", w.log(5))
	}

	w.must(os.WriteFile(w.path("ca.pem"), next, 0o600))
	known := time.Now()
	w.until("drift is put back", func() bool { return w.values()["one"] == small })
	t.Logf("put back %v after the new authority was known", time.Since(known).Round(time.Millisecond))
	w.applied(w.revise("two", small))
	select {
	case <-running.Done():
		t.Errorf("the controller ended: %v", running.Err())
	default:
	}
	w.promises("two", small, 2)
}
