package tufroot_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/tufroot"
)

// answers is a repository that has the same bytes under every name; without a
// next root, it says so.
type answers struct {
	body     []byte
	nextRoot bool
}

func (a answers) RoundTrip(req *http.Request) (*http.Response, error) {
	code := http.StatusOK
	if !a.nextRoot && strings.HasSuffix(req.URL.Path, ".root.json") {
		code = http.StatusNotFound
	}
	return &http.Response{
		StatusCode: code, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: req,
		Body: io.NopCloser(bytes.NewReader(a.body)), ContentLength: -1,
	}, nil
}

// FuzzAnswers lets a repository without keys say anything: no answer is ever
// taken, none makes the client fail, and each has its code.
func FuzzAnswers(f *testing.F) {
	root := tufroot.PublicGoodRoot()
	f.Add(root, true)
	f.Add(root, false)
	f.Add(bytes.Replace(root, []byte(`"root"`), []byte(`"timestamp"`), 1), false)
	f.Add(bytes.Replace(root, []byte(`"version": 14`), []byte(`"version": 15`), 1), true)
	for _, seed := range []string{"", "{}", "null", `{"signed": {"_type": "timestamp", "meta": {"snapshot.json": null}}, "signatures": [{"keyid": "", "sig": ""}]}`} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	dir, before := f.TempDir(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, body []byte, nextRoot bool) {
		client, err := tufroot.New(tufroot.Options{
			URL: tufroot.PublicGood, Root: root, Dir: dir,
			Transport: answers{body, nextRoot}, Clock: func() time.Time { return before },
		})
		if err != nil {
			t.Fatal(err)
		}
		var known *tufroot.Error
		if err := client.Refresh(t.Context()); !errors.As(err, &known) || known.Code == "" || known.Hint == "" {
			t.Errorf("the answer is %v", err)
		}
		if _, _, err := client.Current(); err == nil {
			t.Error("there is a trusted root that nobody signed")
		}
	})
}
