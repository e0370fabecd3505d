package rekorlog

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/github/smimesign/ietf-cms/protocol"
	"github.com/google/go-cmp/cmp"
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

// server answers every question alike.
func server(t *testing.T, status int, text string) *Lookup {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/log/api/v1/log/entries/retrieve" {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		w.Header().Set("Location", "http://127.0.0.1:1/")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(s.Close)
	lookup, err := New(s.URL+"/log/", s.Client())
	if err != nil {
		t.Fatal(err)
	}
	return lookup
}

func TestAnEntryComesAsGitsignEmbedsIt(t *testing.T) {
	t.Parallel()
	entry := logged(t)
	encoded, err := server(t, 200, answer(t, entry)).Find(t.Context(), entry.GetCanonicalizedBody())
	if err != nil {
		t.Fatal(err)
	}
	got := new(rekorpb.TransparencyLogEntry)
	if err := proto.Unmarshal(encoded, got); err != nil {
		t.Fatal(err)
	}
	entry.CanonicalizedBody = nil
	if diff := cmp.Diff(entry, got, protocmp.Transform()); diff != "" {
		t.Errorf("-embedded +looked up:\n%s", diff)
	}
}

func TestOnlyTheLogsOwnNoIsANo(t *testing.T) {
	t.Parallel()
	entry := logged(t)
	good := answer(t, entry)
	other := proto.Clone(entry).(*rekorpb.TransparencyLogEntry)
	other.CanonicalizedBody = []byte("{}")
	for name, tt := range map[string]struct {
		status int
		text   string
		no     bool
	}{
		"the log has none":            {200, "[]", true},
		"the log has none, null":      {200, "null", true},
		"another entry":               {200, answer(t, other), false},
		"no JSON":                     {200, "<html>", false},
		"no list":                     {200, "{}", false},
		"a hash that is none":         {200, strings.Replace(good, `"hashes":["`, `"hashes":["x`, 1), false},
		"a root that is none":         {200, strings.Replace(good, `"rootHash":"`, `"rootHash":"x`, 1), false},
		"a log that is none":          {200, strings.Replace(good, `"logID":"`, `"logID":"x`, 1), false},
		"an answer without end":       {200, "[" + strings.Repeat(" ", maxAnswer) + "]", false},
		"a server that knows nothing": {404, "[]", false},
		"a server that is overloaded": {503, good, false},
		"somebody else to ask":        {307, good, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := server(t, tt.status, tt.text).Find(t.Context(), entry.GetCanonicalizedBody())
			if err == nil || errors.Is(err, gitverify.ErrNotLogged) != tt.no || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("got %v", err)
			}
		})
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
		if _, err := away.Find(ctx, []byte("{}")); err == nil || errors.Is(err, gitverify.ErrNotLogged) {
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
  - {name: alice, person: alice, issuer: "ISSUER", subject: alice@factory.test, roles: [maintainer]}
  rules:
  - {name: everything, paths: ["**"], role: maintainer, threshold: 1}
  transparency: {log: LOG}
`

func TestTheRealRekorHasTheEntryThatASignatureLost(t *testing.T) {
	t.Parallel()
	for _, log := range []string{"online", "offline"} {
		t.Run(log, func(t *testing.T) {
			t.Parallel()
			r := repository{sigstoretest.Shared(t), t.TempDir()}
			alice := sigstoretest.Committer{Name: "Alice", Email: "alice@factory.test"}
			git := func(args ...string) string {
				t.Helper()
				out, err := r.sigstore.Git(t.Context(), r.dir, sigstoretest.Committer{Name: "N", Email: "n@factory.test", Unsigned: true}, args...)
				if err != nil {
					t.Fatal(err)
				}
				return strings.TrimSpace(out)
			}
			write := func(path, content string) {
				t.Helper()
				path = filepath.Join(r.dir, path)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			commit := func() gitverify.ID {
				t.Helper()
				id, err := r.sigstore.Commit(t.Context(), r.dir, alice, "message")
				if err != nil {
					t.Fatal(err)
				}
				return gitverify.ID(id)
			}
			git("init", "--quiet")
			write(gitverify.DefaultPolicyPath, strings.NewReplacer("ISSUER", r.sigstore.IssuerURL(sigstoretest.Person), "LOG", log).Replace(policy))
			anchor := commit()
			write("a", "1\n")
			whole := commit()
			_, body, err := r.Object(t.Context(), whole, 0)
			if err != nil {
				t.Fatal(err)
			}
			write(".git/bare", bare(t, string(body)))
			tip := gitverify.ID(git("hash-object", "-t", "commit", "-w", ".git/bare"))

			root, err := gitverify.LoadTrustedRootFile(r.sigstore.TrustedRootPath)
			if err != nil {
				t.Fatal(err)
			}
			lookup, err := New(r.sigstore.RekorURL, &http.Client{Timeout: 30 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			v, err := gitverify.New(root, gitverify.Options{Log: lookup})
			if err != nil {
				t.Fatal(err)
			}
			for _, candidate := range []gitverify.ID{whole, tip} {
				_, err := v.Verify(t.Context(), r, gitverify.Request{Ref: "refs/heads/main", Candidate: candidate, Anchor: anchor})
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
			if _, err := lookup.Find(t.Context(), []byte(`{"not":"there"}`)); !errors.Is(err, gitverify.ErrNotLogged) {
				t.Errorf("got %v", err)
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
