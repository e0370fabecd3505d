package rekorlog

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/github/smimesign/ietf-cms/protocol"
	gocmp "github.com/google/go-cmp/cmp"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

func TestMain(m *testing.M) { os.Exit(sigstoretest.Main(m)) }

// logged is an entry of a virtual log, with its body.
func logged(t *testing.T) (entry *rekorpb.TransparencyLogEntry) {
	t.Helper()
	virtual, err := sigstoretest.NewVirtual(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // so that the proof has hashes in it
		if _, err := virtual.Sign([]byte("content\n"), sigstoretest.SignOptions{
			EditEntry: func(e *rekorpb.TransparencyLogEntry) { entry = proto.Clone(e).(*rekorpb.TransparencyLogEntry) },
		}); err != nil {
			t.Fatal(err)
		}
	}
	return entry
}

// answer writes an entry as Rekor v1 does.
func answer(t *testing.T, e *rekorpb.TransparencyLogEntry) string {
	t.Helper()
	p := e.GetInclusionProof()
	var hashes []string
	for _, h := range p.GetHashes() {
		hashes = append(hashes, hex.EncodeToString(h))
	}
	type object = map[string]any
	text, err := json.Marshal([]object{{"uuid": object{
		"body": base64.StdEncoding.EncodeToString(e.GetCanonicalizedBody()), "integratedTime": e.GetIntegratedTime(),
		"logID": hex.EncodeToString(e.GetLogId().GetKeyId()), "logIndex": e.GetLogIndex(),
		"verification": object{
			"signedEntryTimestamp": e.GetInclusionPromise().GetSignedEntryTimestamp(),
			"inclusionProof": object{
				"checkpoint": p.GetCheckpoint().GetEnvelope(), "hashes": hashes, "logIndex": p.GetLogIndex(),
				"rootHash": hex.EncodeToString(p.GetRootHash()), "treeSize": p.GetTreeSize(),
			},
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// replies are what a server answers; an empty index answers with no names.
type replies struct {
	status      int
	entries     string
	indexStatus int
	index       string
}

// server answers every question alike.
func server(t *testing.T, r replies) *Lookup {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Location", "http://127.0.0.1:1/")
		switch {
		case req.Method == http.MethodPost && req.URL.Path == "/log/api/v1/index/retrieve":
			w.WriteHeader(cmp.Or(r.indexStatus, 200))
			_, _ = w.Write([]byte(cmp.Or(r.index, "[]")))
		case req.Method == http.MethodPost && req.URL.Path == "/log/api/v1/log/entries/retrieve":
			w.WriteHeader(cmp.Or(r.status, 200))
			_, _ = w.Write([]byte(r.entries))
		default:
			t.Errorf("%s %s", req.Method, req.URL.Path)
		}
	}))
	t.Cleanup(s.Close)
	lookup, err := New(s.URL+"/log/", s.Client())
	if err != nil {
		t.Fatal(err)
	}
	return lookup
}

// about asks for the entry of a signature by its body.
func about(entry *rekorpb.TransparencyLogEntry) gitverify.Question {
	return gitverify.Question{Body: entry.GetCanonicalizedBody(), Object: "4b825dc642cb6eb9a060e54bf8d69288fbee4904", Certificate: []byte("PEM")}
}

func TestAnEntryComesAsGitsignEmbedsItWithItsBody(t *testing.T) {
	t.Parallel()
	entry := logged(t)
	found, err := server(t, replies{entries: answer(t, entry)}).Find(t.Context(), about(entry))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	got := new(rekorpb.TransparencyLogEntry)
	if err := proto.Unmarshal(found[0], got); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(entry, got, protocmp.Transform()); diff != "" {
		t.Errorf("-embedded +looked up:\n%s", diff)
	}
}

// TestTheIndexIsAskedForNameAndCertificateAtOnce also says that all which it
// names is fetched with the signature's own leaf, in one question.
func TestTheIndexIsAskedForNameAndCertificateAtOnce(t *testing.T) {
	t.Parallel()
	entry := logged(t)
	name := "00000000000000af" + strings.Repeat("1", 64)
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		asked = append(asked, r.URL.Path+" "+string(body))
		if strings.HasSuffix(r.URL.Path, "index/retrieve") {
			_, _ = w.Write([]byte(`["` + name + `"]`))
			return
		}
		_, _ = w.Write([]byte(answer(t, entry)))
	}))
	t.Cleanup(s.Close)
	lookup, err := New(s.URL, s.Client())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lookup.Find(t.Context(), about(entry)); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`/api/v1/index/retrieve {"hash":"sha256:abe5b4848301d438e6a78ad4d8d689317228797e9f765a66cd9a50a0a1cc4a83","publicKey":{"format":"x509","content":"UEVN"},"operator":"and"}`,
		`/api/v1/log/entries/retrieve {"entryUUIDs":["` + leafOf(entry.GetCanonicalizedBody()) + `","` + name + `"]}`,
	}
	if diff := gocmp.Diff(want, asked); diff != "" {
		t.Errorf("-want +asked:\n%s", diff)
	}
}

func TestOnlyTheLogsOwnNoIsANo(t *testing.T) {
	t.Parallel()
	entry := logged(t)
	good := answer(t, entry)
	other := proto.Clone(entry).(*rekorpb.TransparencyLogEntry)
	other.CanonicalizedBody = []byte("{}")
	leaf := func(e *rekorpb.TransparencyLogEntry) string { return leafOf(e.GetCanonicalizedBody()) }
	names := func(n int) string { return `["` + strings.Repeat(leaf(other)+`","`, n-1) + leaf(other) + `"]` }
	for name, tt := range map[string]struct {
		replies
		no bool
	}{
		"the log has none":                               {replies{entries: "[]"}, true},
		"the log has none, null":                         {replies{entries: "null", index: "null"}, true},
		"the index names what the log has not":           {replies{entries: "[]", index: names(1)}, true},
		"another entry":                                  {replies{entries: answer(t, other)}, false},
		"another entry beside the one":                   {replies{entries: strings.TrimSuffix(good, "]") + "," + strings.TrimPrefix(answer(t, other), "[")}, false},
		"the same entry many times":                      {replies{entries: "[" + strings.Repeat(strings.Trim(good, "[]")+",", 10) + strings.Trim(good, "[]") + "]"}, false},
		"no JSON":                                        {replies{entries: "<html>"}, false},
		"no list":                                        {replies{entries: "{}"}, false},
		"a body that is none":                            {replies{entries: strings.Replace(good, `"body":"`, `"body":"!`, 1)}, false},
		"a hash that is none":                            {replies{entries: strings.Replace(good, `"hashes":["`, `"hashes":["x`, 1)}, false},
		"a root that is none":                            {replies{entries: strings.Replace(good, `"rootHash":"`, `"rootHash":"x`, 1)}, false},
		"a log that is none":                             {replies{entries: strings.Replace(good, `"logID":"`, `"logID":"x`, 1)}, false},
		"an answer without end":                          {replies{entries: "[" + strings.Repeat(" ", maxAnswer) + "]"}, false},
		"a server that knows nothing":                    {replies{status: 404, entries: "[]"}, false},
		"a server that is overloaded":                    {replies{status: 503, entries: good}, false},
		"somebody else to ask":                           {replies{status: 307, entries: good}, false},
		"no index":                                       {replies{entries: "[]", indexStatus: 501}, false},
		"an index elsewhere":                             {replies{entries: "[]", indexStatus: 307, index: names(1)}, false},
		"an index that is no list":                       {replies{entries: "[]", index: `{"a":1}`}, false},
		"an index that names no entry":                   {replies{entries: "[]", index: `["../../admin"]`}, false},
		"an index with more than there can be":           {replies{entries: "[]", index: names(maxFound + 1)}, false},
		"an index with ten thousand":                     {replies{entries: "[]", index: names(10_000)}, false},
		"an index without end":                           {replies{entries: "[]", index: "[" + strings.Repeat(" ", maxAnswer) + "]"}, false},
		"an index in which somebody hides what is there": {replies{entries: "[]", index: `["` + leaf(other) + `", null]`}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := server(t, tt.replies).Find(t.Context(), about(entry))
			if err == nil || errors.Is(err, gitverify.ErrNotLogged) != tt.no || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestALogWithoutAnIndexStillHasTheEntryOfTheSignatureItself(t *testing.T) {
	t.Parallel()
	entry := logged(t)
	found, err := server(t, replies{entries: answer(t, entry), indexStatus: 501}).Find(t.Context(), about(entry))
	if err != nil || len(found) != 1 {
		t.Errorf("got %d entries, %v", len(found), err)
	}
}

func TestALogThatIsAwayHasNotSaidNo(t *testing.T) {
	t.Parallel()
	away, err := New("http://127.0.0.1:1", &http.Client{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, ctx := range []context.Context{t.Context(), ended} {
		if _, err := away.Find(ctx, gitverify.Question{Body: []byte("{}")}); err == nil || errors.Is(err, gitverify.ErrNotLogged) {
			t.Errorf("got %v", err)
		}
	}
}

func TestOnlyALogCanBeAsked(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "rekor.test", "ftp://rekor.test", "https://", "https://user@rekor.test", "https://rekor.test?x=1", "https://rekor.test#x", "https://re kor"} {
		if _, err := New(bad, &http.Client{}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, err := New("https://rekor.test", nil); err == nil {
		t.Error("no client was taken")
	}
}

// repository is a real one, read with the real git.
type repository struct {
	sigstore *sigstoretest.Sigstore
	dir      string
}

func (r repository) Object(ctx context.Context, id gitverify.ID, _ int64) (string, []byte, error) {
	kind, err := r.sigstore.Git(ctx, r.dir, sigstoretest.Committer{Unsigned: true}, "cat-file", "-t", string(id))
	if err != nil {
		return "", nil, err
	}
	kind = strings.TrimSpace(kind)
	body, err := r.sigstore.Git(ctx, r.dir, sigstoretest.Committer{Unsigned: true}, "cat-file", kind, string(id))
	return kind, []byte(body), err
}

const policy = `apiVersion: millwright.dev/v1alpha1
kind: TrustPolicy
metadata: {name: factory}
spec:
  version: 1
  repository: millwright.dev/factory
  identities:
  - {name: alice, person: alice, issuer: "ISSUER", subject: alice@factory.test, roles: [maintainer, release]}
  rules:
  - {name: everything, paths: ["**"], role: maintainer, threshold: 1}
  transparency: {log: LOG}
`

// The Rekor of this test has no search index: the leaf of a signature is found
// without one, and that there is nothing else cannot be told.
func TestTheRealRekorHasTheEntryThatASignatureLost(t *testing.T) {
	t.Parallel()
	for _, log := range []string{"online", "offline"} {
		t.Run(log, func(t *testing.T) {
			t.Parallel()
			w, anchor := newWorkshop(t, sigstoretest.Shared(t), log)
			w.write("a", "1\n")
			whole := w.commit(sigstoretest.Committer{})
			_, body, err := w.Object(t.Context(), whole, 0)
			if err != nil {
				t.Fatal(err)
			}
			w.write(".git/bare", bare(t, string(body)))
			tip := gitverify.ID(w.git("hash-object", "-t", "commit", "-w", ".git/bare"))
			v := w.verifier(w.sigstore.RekorURL)
			for _, candidate := range []gitverify.ID{whole, tip} {
				_, err := v.Verify(t.Context(), w, gitverify.Request{Ref: "refs/heads/main", Candidate: candidate, Anchor: anchor})
				no, _ := errors.AsType[*gitverify.Refusal](err)
				switch {
				case candidate == tip && log == "offline":
					if no == nil || no.Code != "log/missing" || no.Commit != tip {
						t.Errorf("got %v", err)
					}
				case err != nil:
					t.Errorf("%s: %v", candidate, err)
				}
			}
			w.write("a", "2\n")
			never := w.commit(sigstoretest.Committer{Online: true})
			_, err = v.Verify(t.Context(), w, gitverify.Request{Ref: "refs/heads/main", Candidate: never, Anchor: anchor})
			if _, no := errors.AsType[*gitverify.Refusal](err); err == nil || no != (log == "offline") {
				t.Errorf("a log without an index: %v", err)
			}
		})
	}
}

// bare takes the evidence out of a commit's signature.
func bare(t *testing.T, commit string) string {
	t.Helper()
	const begin, end = "-----BEGIN SIGNED MESSAGE-----", "-----END SIGNED MESSAGE-----\n"
	start, stop := strings.Index(commit, begin), strings.Index(commit, end)+len(end)
	block, _ := pem.Decode([]byte(strings.ReplaceAll(commit[start:stop], "\n ", "\n")))
	if block == nil {
		t.Fatal("the commit is not signed")
	}
	info, err := protocol.ParseContentInfo(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	data, err := info.SignedDataContent()
	if err != nil {
		t.Fatal(err)
	}
	data.SignerInfos[0].UnsignedAttrs = nil
	if block.Bytes, err = data.ContentInfoDER(); err != nil {
		t.Fatal(err)
	}
	armored := strings.TrimRight(string(pem.EncodeToMemory(block)), "\n")
	return commit[:start] + strings.ReplaceAll(armored, "\n", "\n ") + "\n" + commit[stop:]
}
