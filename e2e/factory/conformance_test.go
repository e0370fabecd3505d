package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// toldWithin is -interval and -grace of overlays/local/conformance, and some seconds
// for a busy machine.
const toldWithin = 5*time.Second + 20*time.Second + 10*time.Second

// A run is signed as long as the registry has its provenance. When that is taken
// away, what Chains wrote on the run stays, and counts for nothing.
func unsignedIsAnAlarm(t *testing.T, f *factory) {
	f.run(t, "other-1", "registry.localhost:5000/sample", "registry.localhost:5000/other")
	f.saidOf(t, "other-1", "signed")
	if said := f.alarms(t, "other-1"); said != "" {
		t.Errorf("an alarm about a run that is signed: %s", said)
	}
	_, digest, _ := strings.Cut(f.image(t, "other-1"), "@sha256:")
	stored, kind := f.stored(t, http.MethodGet, "other", digest, "", nil)
	f.stored(t, http.MethodDelete, "other", digest, "", nil)
	eventually(t, toldWithin, "the alarm was there", func() error {
		if said := f.alarms(t, "other-1"); !strings.HasPrefix(said, "Warning NoProvenance: ") {
			return fmt.Errorf("the events are %q", said)
		}
		return nil
	})
	if says := f.must(t, "get", "pipelinerun", "other-1", "--namespace=build-sample", `--output=jsonpath={.metadata.annotations.chains\.tekton\.dev/signed}`); says != "true" {
		t.Errorf("Chains says of the run %q", says)
	}
	if others := f.alarms(t, "sample-1"); others != "" {
		t.Errorf("an alarm about another run: %s", others)
	}
	pod := f.must(t, "get", "pods", "--namespace=factory-conformance", "--output=jsonpath={.items[0].metadata.name} {.items[0].status.containerStatuses[0].ready}")
	name, ready, _ := strings.Cut(pod, " ")
	if metrics := f.must(t, "get", "--raw", "/api/v1/namespaces/factory-conformance/pods/"+name+":8080/proxy/metrics"); !strings.Contains(metrics, `millwright_conformance_runs{state="unsigned"} 1`) || ready != "true" {
		t.Errorf("ready: %s; metrics:\n%s", ready, metrics)
	}
	f.stored(t, http.MethodPut, "other", digest, kind, stored)
	f.saidOf(t, "other-1", "signed")
}

// saidOf waits until that is the last that the log says of a run.
func (f *factory) saidOf(t *testing.T, run, state string) {
	t.Helper()
	eventually(t, time.Minute, "run "+run+" was found "+state, func() error {
		last := ""
		for line := range strings.Lines(f.must(t, "logs", "--namespace=factory-conformance", "deployment/conformance")) {
			if strings.Contains(line, "name="+run+" state=") {
				last = line
			}
		}
		if !strings.Contains(last, "state="+state+" ") {
			return errors.New("it says " + last)
		}
		return nil
	})
}

// alarms are the events about a run that is not signed.
func (f *factory) alarms(t *testing.T, run string) string {
	t.Helper()
	return f.must(t, "get", "events", "--namespace=build-sample", "--field-selector=reason=RunUnsigned,involvedObject.name="+run,
		`--output=jsonpath={range .items[*]}{.type} {.message}{"\n"}{end}`)
}

// stored asks the registry for the attestations of an image, or to change them, as
// somebody would who got into it.
func (f *factory) stored(t *testing.T, method, repository, digest, kind string, body []byte) (content []byte, contentType string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+f.registry(t)+"/v2/"+repository+"/manifests/sha256-"+digest+".att", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", kind)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	content, err = io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode/100 != 2 {
		t.Fatalf("%s: %s %v\n%s", method, answer.Status, err, content)
	}
	return content, answer.Header.Get("Content-Type")
}
