package rekorlog

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// indexed starts a Sigstore whose log has a search index.
func indexed(t *testing.T) *sigstoretest.Sigstore {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	s, err := sigstoretest.Start(ctx, t.TempDir(), sigstoretest.Options{Progress: os.Stderr, SearchIndex: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// workshop is a real repository and somebody who commits to it with the real
// git and the real gitsign.
type workshop struct {
	t *testing.T
	repository
}

// newWorkshop has a policy as its first commit. log is what the policy says of it.
func newWorkshop(t *testing.T, s *sigstoretest.Sigstore, log string) (w workshop, anchor gitverify.ID) {
	t.Helper()
	w = workshop{t, repository{s, t.TempDir()}}
	w.git("init", "--quiet")
	w.write(gitverify.DefaultPolicyPath, strings.NewReplacer("ISSUER", s.IssuerURL(sigstoretest.Person), "LOG", log).Replace(policy))
	return w, w.commit(sigstoretest.Committer{})
}

func (w workshop) git(args ...string) string {
	w.t.Helper()
	return w.gitAs(sigstoretest.Committer{Unsigned: true}, args...)
}

func (w workshop) gitAs(who sigstoretest.Committer, args ...string) string {
	w.t.Helper()
	who.Name, who.Email = "Alice", "alice@factory.test"
	out, err := w.sigstore.Git(w.t.Context(), w.dir, who, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func (w workshop) write(path, content string) {
	w.t.Helper()
	path = filepath.Join(w.dir, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		w.t.Fatal(err)
	}
}

func (w workshop) commit(how sigstoretest.Committer) gitverify.ID {
	w.t.Helper()
	w.git("add", "--all")
	w.gitAs(how, "commit", "--quiet", "--allow-empty", "--message", "message")
	return w.tip()
}

func (w workshop) tip() gitverify.ID { return gitverify.ID(w.git("rev-parse", "HEAD")) }

// verifier asks the server; "" asks nobody.
func (w workshop) verifier(server string) *gitverify.Verifier {
	w.t.Helper()
	root, err := gitverify.LoadTrustedRootFile(w.sigstore.TrustedRootPath)
	if err != nil {
		w.t.Fatal(err)
	}
	var options gitverify.Options
	if server != "" {
		if options.Log, err = New(server, &http.Client{Timeout: 30 * time.Second}); err != nil {
			w.t.Fatal(err)
		}
	}
	v, err := gitverify.New(root, options)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// settled asks until the answer is something else than that the log has no entry:
// Rekor writes its index after it has answered who uploads.
func settled(t *testing.T, ask func() error) error {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if err := ask(); !gitverify.FromLog(err) || time.Now().After(deadline) {
			return err
		}
	}
}

func TestWhatGitsignMakesByDefaultVerifiesWhereTheLogMayBeAsked(t *testing.T) {
	t.Parallel()
	s := indexed(t)
	online := sigstoretest.Committer{Online: true}
	for _, log := range []string{"online", "offline"} {
		t.Run(log, func(t *testing.T) {
			t.Parallel()
			w, anchor := newWorkshop(t, s, log)
			w.write("a", "1\n")
			first := w.commit(online)
			w.write("a", "2\n")
			tip := w.commit(online)
			w.gitAs(online, "tag", "--sign", "--message", "one", "v1")
			tag := gitverify.ID(w.git("rev-parse", "refs/tags/v1"))
			v := w.verifier(s.RekorURL)
			var proven gitverify.Verification
			for _, r := range []gitverify.Request{
				{Ref: "refs/heads/main", Candidate: tip, Anchor: anchor},
				{Ref: "refs/tags/v1", Candidate: tag, Anchor: anchor},
			} {
				err := settled(t, func() (err error) {
					proven, err = v.Verify(t.Context(), w, r)
					return err
				})
				no, _ := errors.AsType[*gitverify.Refusal](err)
				switch {
				case log == "online" && err != nil:
					t.Errorf("%s: %v", r.Ref, err)
				case log == "offline" && (no == nil || no.Code != "log/missing" || no.Commit != first):
					t.Errorf("%s: %v", r.Ref, err)
				case log == "offline" && (!strings.Contains(no.Hint, "rekorMode=offline") || !strings.Contains(no.Hint, "log: online")):
					t.Errorf("the hint is %q", no.Hint)
				}
			}
			if log == "offline" {
				return
			}
			if checked := proven.Checked(); len(checked) != 2 || checked[1].LogIndex < 0 || time.Since(checked[1].SignedAt).Abs() > time.Hour {
				t.Errorf("proven: %+v", checked)
			}
			if tag, ok := proven.Tag(); !ok || tag.Signer.Subject != "alice@factory.test" {
				t.Errorf("the tag: %+v", tag)
			}
			// Nobody is asked, and what is not in the log by that name is not there.
			if _, err := w.verifier("").Verify(t.Context(), w, gitverify.Request{Ref: "refs/heads/main", Candidate: tip, Anchor: anchor}); err == nil || gitverify.FromLog(err) {
				t.Errorf("without a log: %v", err)
			}
		})
	}
}

func TestAnIndexThatIsAwayIsNotANo(t *testing.T) {
	t.Parallel()
	s := indexed(t)
	w, anchor := newWorkshop(t, s, "online")
	w.write("a", "1\n")
	request := gitverify.Request{Ref: "refs/heads/main", Candidate: w.commit(sigstoretest.Committer{Online: true}), Anchor: anchor}
	v := w.verifier(s.RekorURL)
	if err := settled(t, func() error { _, err := v.Verify(t.Context(), w, request); return err }); err != nil {
		t.Fatal(err)
	}
	index, err := s.Server("index")
	if err != nil {
		t.Fatal(err)
	}
	index.Kill()
	_, err = w.verifier(s.RekorURL).Verify(t.Context(), w, request)
	if _, no := errors.AsType[*gitverify.Refusal](err); err == nil || no {
		t.Errorf("got %v", err)
	}
	if _, err := v.Verify(t.Context(), w, request); err != nil {
		t.Errorf("what was proven is asked about again: %v", err)
	}
}
