package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// The real gitsign in its default mode leaves the proof in the log only, and the
// log's index says where.
func TestVerifyAsksTheLogForWhatGitsignMakesByDefault(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	sigstore, err := sigstoretest.Start(ctx, t.TempDir(), sigstoretest.Options{Progress: os.Stderr, SearchIndex: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sigstore.Stop)
	s := &studio{t: t, sigstore: sigstore, dir: t.TempDir()}
	s.git(person("Alice"), "init", "-q")
	s.write("factory-config/trust/policy.yaml", strings.ReplaceAll(studioPolicy, "ISSUER", sigstore.IssuerURL(sigstoretest.Person))+"  transparency: {log: online}\n")
	unsigned, alice := person("Alice"), person("Alice")
	unsigned.Unsigned, alice.Online = true, true
	anchor := s.commit(unsigned, "anchor")
	s.write("bases/app.yaml", "a: 2\n")
	tip := s.commit(alice, "by default")

	ask := func(log ...string) (code int, stdout, stderr string) {
		args := append([]string{"verify", "--repo", s.dir, "--trusted-root", sigstore.TrustedRootPath}, log...)
		return answer(t, append(args, anchor+".."+tip)...)
	}
	code, stdout, stderr := ask()
	if code != exitNo || !strings.Contains(stdout+stderr, "log/missing") || !strings.Contains(stdout+stderr, "rekorMode=offline") || !strings.Contains(stdout+stderr, "--log") {
		t.Errorf("asking nobody: %d\n%s%s", code, stdout, stderr)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) { // the index is written after the entry
		if code, stdout, stderr = ask("--log", sigstore.RekorURL); code == exitYes || time.Now().After(deadline) {
			break
		}
	}
	if code != exitYes || !strings.Contains(stdout, "alice@factory.example") || !strings.Contains(stdout, tip[:12]) {
		t.Errorf("asking the log: %d\n%s%s", code, stdout, stderr)
	}
	if code, stdout, stderr = ask("--log", "http://127.0.0.1:1"); code != exitUnknown {
		t.Errorf("asking nothing: %d\n%s%s", code, stdout, stderr)
	}
}
