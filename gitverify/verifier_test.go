package gitverify_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

func TestWithoutATrustedRootNothingCanBeTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "trusted_root.json")
	var no *gitverify.Refusal
	for name, content := range map[string]string{
		"not JSON": "{", "empty": "", "nothing in it": `{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`,
		"too large": strings.Repeat(" ", 2<<20),
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := gitverify.LoadTrustedRootFile(path)
		if !errors.Is(err, gitverify.ErrTrustedRoot) || errors.As(err, &no) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := gitverify.LoadTrustedRootFile(filepath.Join(dir, "none"))
	if !errors.Is(err, gitverify.ErrTrustedRoot) || !errors.Is(err, os.ErrNotExist) || errors.As(err, &no) {
		t.Errorf("missing: %v", err)
	}
	if _, err := gitverify.LoadTrustedRootFile(dir); !errors.Is(err, gitverify.ErrTrustedRoot) || !errors.Is(err, syscall.EISDIR) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := gitverify.New(gitverify.TrustedRoot{}, gitverify.Options{}); !errors.Is(err, gitverify.ErrTrustedRoot) {
		t.Errorf("zero: %v", err)
	}
}

func TestAnotherTrustedRootRefusesTheSameCommit(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	s := scene{r, r.anchor()}
	tip := s.signed(honest)
	data, err := r.virtual.ForeignTrustedRootJSON()
	if err != nil {
		t.Fatal(err)
	}
	root, err := gitverify.ParseTrustedRoot(data)
	if err != nil {
		t.Fatal(err)
	}
	v, err := gitverify.New(root, gitverify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r.wantNo(v, request(s.anchor, tip), "log/unknown", tip)
	r.wantYes(r.verifier(), request(s.anchor, tip))
}

func TestACancelledContextIsNeitherYesNorNo(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	s := scene{r, r.anchor()}
	tip := s.signed(honest)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.verifier().Verify(ctx, r, request(s.anchor, tip))
	var no *gitverify.Refusal
	if !errors.Is(err, context.Canceled) || errors.As(err, &no) {
		t.Errorf("got %v", err)
	}
}

func TestTheTableOfReasonsIsCompleteAndWellFormed(t *testing.T) {
	t.Parallel()
	codes := map[string]bool{}
	for _, file := range []string{"reasons.go", "rulereasons.go", "tagreasons.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`code\w+\s+= "([a-z]+/[a-z0-9-]+)"`).FindAllStringSubmatch(string(source), -1) {
			codes[m[1]] = true
		}
	}
	camel := regexp.MustCompile(`^([A-Z][a-z]+)+$`)
	for _, r := range gitverify.Reasons() {
		if !codes[r.Code] {
			t.Errorf("%s is there twice, or is no constant", r.Code)
		}
		delete(codes, r.Code)
		if !camel.MatchString(r.Reason) || len(r.Hint) < 20 || strings.ContainsAny(r.Hint, "\n") {
			t.Errorf("row %+v", r)
		}
	}
	for code := range codes {
		t.Errorf("%s has no reason and no hint", code)
	}
}

func TestWhatAStrangerWroteCannotSpoilALogLine(t *testing.T) { // row D34
	t.Parallel()
	r := newRepository(t)
	s := scene{r, r.anchor()}
	body := s.replaceOnce(s.body(), "\n\nchange", "\n\x1b[31mred\u202eder\t"+strings.Repeat("x", 5000)+" y\n\nchange")
	bad := r.put("commit", r.sign(body, honest))
	no := r.wantNo(r.verifier(), request(s.anchor, bad), "obj/unknown-header", bad)
	if len(no.Error()) > 1000 || strings.ContainsAny(no.Error(), "\x1b\u202e\t") {
		t.Errorf("got %q", no.Error())
	}
}

func TestManyCallersMayVerifyAtOnce(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	s := scene{r, r.anchor()}
	good, bad := s.signed(honest), s.signed(sigstoretest.SignOptions{NoSCT: true})
	v := r.verifier()
	done := make(chan error)
	for i := range 8 {
		go func() {
			tip := []gitverify.ID{good, bad}[i%2]
			_, err := v.Verify(t.Context(), r, request(s.anchor, tip))
			if (err == nil) != (tip == good) {
				done <- errors.New("one caller got another's answer")
				return
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// fainting is a store that panics.
type fainting struct{}

func (fainting) Object(context.Context, gitverify.ID, int64) (string, []byte, error) {
	panic("the store\nfaints")
}

func TestAStoreThatPanicsIsNeitherYesNorNo(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	s := scene{r, r.anchor()}
	req := request(s.anchor, s.signed(honest))
	v := r.verifier()
	_, err := v.Verify(t.Context(), fainting{}, req)
	var no *gitverify.Refusal
	if err == nil || errors.As(err, &no) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
	r.wantYes(v, req)
}

func TestSignedBytesCountAsTheyAre(t *testing.T) { // row A21
	t.Parallel()
	for name, edit := range map[string][2]string{
		"message with carriage returns": {"change\n", "change\r\n\r\nmore\r\n"},
		"message without a line end":    {"change\n", "change"},
		"no message":                    {"change\n", ""},
		"message in another encoding":   {"\n\nchange", "\nencoding ISO-8859-1\n\nM\xfchle"},
		"author without a name":         {"author A U Thor ", "author  "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t)
			s := scene{r, r.anchor()}
			tip := r.put("commit", r.sign(s.replaceOnce(s.body(), edit[0], edit[1]), honest))
			r.wantYes(r.verifier(), request(s.anchor, tip))
		})
	}
}

func BenchmarkVerifyOneCommit(b *testing.B) {
	for name, o := range map[string]sigstoretest.SignOptions{"log": {}, "log and timestamp": {Stamp: true}} {
		b.Run(name, func(b *testing.B) {
			r := newRepository(b)
			s := scene{r, r.anchor()}
			tip := s.signed(o)
			for b.Loop() {
				r.wantYes(r.verifier(), request(s.anchor, tip))
			}
		})
	}
}

func BenchmarkVerifyARangeOfAHundredCommits(b *testing.B) {
	r := newRepository(b)
	anchor := r.anchor()
	tip := anchor
	for i := range 100 {
		tip = r.commit(strconv.Itoa(i), files("a", strconv.Itoa(i)), tip)
	}
	for b.Loop() {
		r.wantYes(r.verifier(), request(anchor, tip))
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/100, "µs/commit")
}

func BenchmarkVerifyTheSameTipAgain(b *testing.B) {
	r := newRepository(b)
	s := scene{r, r.anchor()}
	v, req := r.verifier(), request(s.anchor, s.signed(honest))
	r.wantYes(v, req)
	for b.Loop() {
		r.wantYes(v, req)
	}
}

func TestTheAnchorItselfWasNotChecked(t *testing.T) { // rule T1
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	tip := r.commit("c", files("a", "1"), anchor)
	for id, want := range map[gitverify.ID]gitverify.ID{anchor: "", tip: tip} {
		checked, ok := r.wantYes(r.verifier(), request(anchor, id)).Tip()
		if checked.Commit != want || ok != (want != "") {
			t.Errorf("%s: %+v, %v", id, checked, ok)
		}
	}
}
