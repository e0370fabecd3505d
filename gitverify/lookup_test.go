package gitverify

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/github/smimesign/ietf-cms/protocol"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/proto"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// stripped is a virtual signature whose log entry is kept apart.
func stripped(t *testing.T) (s sketch, entry *rekorpb.TransparencyLogEntry) {
	t.Helper()
	s = newSketch(t, sigstoretest.SignOptions{
		EditEntry:      func(e *rekorpb.TransparencyLogEntry) { entry = proto.Clone(e).(*rekorpb.TransparencyLogEntry) },
		EditSignedData: func(d *protocol.SignedData) { d.SignerInfos[0].UnsignedAttrs = nil },
	})
	return s, entry
}

// asRekor writes an entry as Rekor v1 answers.
func asRekor(e *rekorpb.TransparencyLogEntry) map[string]any {
	p := e.GetInclusionProof()
	var hashes []string
	for _, h := range p.GetHashes() {
		hashes = append(hashes, hex.EncodeToString(h))
	}
	return map[string]any{"uuid": map[string]any{
		"body": base64.StdEncoding.EncodeToString(e.GetCanonicalizedBody()), "integratedTime": e.GetIntegratedTime(),
		"logID": hex.EncodeToString(e.GetLogId().GetKeyId()), "logIndex": e.GetLogIndex(),
		"verification": map[string]any{
			"signedEntryTimestamp": e.GetInclusionPromise().GetSignedEntryTimestamp(),
			"inclusionProof": map[string]any{
				"checkpoint": p.GetCheckpoint().GetEnvelope(), "hashes": hashes, "logIndex": p.GetLogIndex(),
				"rootHash": hex.EncodeToString(p.GetRootHash()), "treeSize": p.GetTreeSize(),
			},
		},
	}}
}

// answering is a look-up at a server that answers every question alike.
func answering(t *testing.T, status int, answer any) LogLookup {
	t.Helper()
	text, err := json.Marshal(answer)
	if raw, ok := answer.(string); ok {
		text, err = []byte(raw), nil
	}
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/log/api/v1/log/entries/retrieve" {
			status = http.StatusTeapot
		}
		w.Header().Set("Location", "http://127.0.0.1:1/")
		w.WriteHeader(status)
		_, _ = w.Write(text)
	}))
	t.Cleanup(server.Close)
	lookup, err := NewRekorLookup(server.URL+"/log/", server.Client())
	if err != nil {
		t.Fatal(err)
	}
	return lookup
}

func TestAnEntryThatIsLookedUpCountsAsOneInTheSignature(t *testing.T) {
	t.Parallel()
	s, entry := stripped(t)
	v := s.verifier(nil)
	if _, err := v.prove(t.Context(), s.payload, s.armored, nil); codeOf(err) != codeNotLogged {
		t.Fatalf("offline: %v", err)
	}
	p, err := v.prove(t.Context(), s.payload, s.armored, answering(t, 200, []any{asRekor(entry)}))
	if err != nil || p.logIndex != entry.GetLogIndex() || p.at.Unix() != entry.GetIntegratedTime() {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestAnEntryInTheSignatureIsNotLookedUp(t *testing.T) {
	t.Parallel()
	s := newSketch(t, sigstoretest.SignOptions{})
	if _, err := s.verifier(nil).prove(t.Context(), s.payload, s.armored, lookupFunc(func(context.Context, []byte) ([]byte, error) {
		t.Error("the log was asked")
		return nil, errors.New("away")
	})); err != nil {
		t.Error(err)
	}
}

type lookupFunc func(context.Context, []byte) ([]byte, error)

func (f lookupFunc) Find(ctx context.Context, body []byte) ([]byte, error) { return f(ctx, body) }

func TestALogIsBelievedNoMoreThanAnEntryInTheSignature(t *testing.T) {
	t.Parallel()
	s, good := stripped(t)
	v := s.verifier(nil)
	edited := func(change func(e *rekorpb.TransparencyLogEntry)) []any {
		e := proto.Clone(good).(*rekorpb.TransparencyLogEntry)
		change(e)
		return []any{asRekor(e)}
	}
	tests := map[string]struct {
		status int
		answer any
		code   string // empty: it could not be told
	}{
		"the log has none":            {200, []any{}, codeNotLogged},
		"the log has none, null":      {200, "null", codeNotLogged},
		"another time":                {200, edited(func(e *rekorpb.TransparencyLogEntry) { e.IntegratedTime++ }), codeEntryMismatch},
		"another log":                 {200, edited(func(e *rekorpb.TransparencyLogEntry) { e.LogId.KeyId[0] ^= 1 }), codeLogUnknown},
		"another root":                {200, edited(func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.RootHash[0] ^= 1 }), codeCheckpoint},
		"another checkpoint":          {200, edited(func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.Checkpoint.Envelope = "x" }), codeCheckpoint},
		"no promise":                  {200, edited(func(e *rekorpb.TransparencyLogEntry) { e.InclusionPromise = nil }), codeUnproven},
		"another entry":               {200, edited(func(e *rekorpb.TransparencyLogEntry) { e.CanonicalizedBody = []byte("{}") }), ""},
		"no JSON":                     {200, "<html>", ""},
		"a hash that is none":         {200, strings.Replace(mustJSON(t, []any{asRekor(good)}), `"hashes":null`, `"hashes":["x"]`, 1), ""},
		"a root that is none":         {200, strings.Replace(mustJSON(t, []any{asRekor(good)}), `"rootHash":"`, `"rootHash":"x`, 1), ""},
		"a log that is none":          {200, strings.Replace(mustJSON(t, []any{asRekor(good)}), `"logID":"`, `"logID":"x`, 1), ""},
		"an answer without end":       {200, "[" + strings.Repeat(" ", maxLookedUp) + "]", ""},
		"a server that knows nothing": {404, "[]", ""},
		"a server that is overloaded": {503, []any{asRekor(good)}, ""},
		"somebody else to ask":        {307, []any{asRekor(good)}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := v.prove(t.Context(), s.payload, s.armored, answering(t, tt.status, tt.answer))
			if err == nil || codeOf(err) != tt.code {
				t.Errorf("want %q, got %v", tt.code, err)
			}
			if err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("not one line: %q", err)
			}
		})
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestALogThatIsAwayCannotTell(t *testing.T) {
	t.Parallel()
	s, _ := stripped(t)
	v := s.verifier(nil)
	away, err := NewRekorLookup("http://127.0.0.1:1", &http.Client{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for name, lookup := range map[string]LogLookup{
		"away":            away,
		"an empty answer": lookupFunc(func(context.Context, []byte) ([]byte, error) { return nil, nil }),
		"a huge answer":   lookupFunc(func(context.Context, []byte) ([]byte, error) { return make([]byte, maxLookedUp+1), nil }),
	} {
		if _, err := v.prove(t.Context(), s.payload, s.armored, lookup); err == nil || codeOf(err) != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOnlyALogCanBeAsked(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "rekor.test", "ftp://rekor.test", "https://", "https://user@rekor.test", "https://rekor.test?x=1", "https://rekor.test#x", "https://re kor"} {
		if _, err := NewRekorLookup(bad, &http.Client{}); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, err := NewRekorLookup("https://rekor.test", nil); err == nil {
		t.Error("no client was taken")
	}
}

func TestTheRealRekorHasTheEntriesOfTheRealGitsign(t *testing.T) {
	t.Parallel()
	store := sigstoretest.Shared(t)
	dir := t.TempDir()
	who := sigstoretest.Committer{Name: "Alice", Email: "alice@factory.test"}
	if _, err := store.Git(t.Context(), dir, sigstoretest.Committer{Unsigned: true}, "init", "--quiet"); err != nil {
		t.Fatal(err)
	}
	id, err := store.Commit(t.Context(), dir, who, "message")
	if err != nil {
		t.Fatal(err)
	}
	body, err := store.Git(t.Context(), dir, sigstoretest.Committer{Unsigned: true}, "cat-file", "commit", id)
	if err != nil {
		t.Fatal(err)
	}
	c, err := splitCommit([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	root, err := LoadTrustedRootFile(store.TrustedRootPath)
	if err != nil {
		t.Fatal(err)
	}
	v, err := newSignatureVerifier(root)
	if err != nil {
		t.Fatal(err)
	}
	embedded, err := v.prove(t.Context(), c.payload, c.armored, nil)
	if err != nil {
		t.Fatal(err)
	}
	lookup, err := NewRekorLookup(store.RekorURL, &http.Client{Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	bare := withoutEvidence(t, c.armored)
	found, err := v.prove(t.Context(), c.payload, bare, lookup)
	if err != nil {
		t.Fatal(err)
	}
	if found.certified != embedded.certified || !found.at.Equal(embedded.at) || found.logIndex != embedded.logIndex ||
		found.seen.leaf != embedded.seen.leaf || found.seen.index != embedded.seen.index {
		t.Errorf("looked up %+v, embedded %+v", found, embedded)
	}
	var memory checkpoints
	for _, p := range []proof{embedded, found, embedded} {
		if err := memory.admit(p); err != nil {
			t.Error(err)
		}
	}
	if _, err := lookup.Find(t.Context(), []byte(`{"not":"there"}`)); !errors.Is(err, ErrNotLogged) {
		t.Errorf("got %v", err)
	}
}

// withoutEvidence takes the unsigned attributes out of a signature.
func withoutEvidence(t *testing.T, armored []byte) []byte {
	t.Helper()
	der, err := decodePEM(armored)
	if err != nil {
		t.Fatal(err)
	}
	info, err := protocol.ParseContentInfo(der)
	if err != nil {
		t.Fatal(err)
	}
	data, err := info.SignedDataContent()
	if err != nil {
		t.Fatal(err)
	}
	data.SignerInfos[0].UnsignedAttrs = nil
	if der, err = data.ContentInfoDER(); err != nil {
		t.Fatal(err)
	}
	return armour(der)
}

// armour writes the one form of PEM that is read.
func armour(der []byte) []byte {
	var b bytes.Buffer
	fmt.Fprint(&b, pemBegin)
	for text := base64.StdEncoding.EncodeToString(der); text != ""; {
		n := min(pemLine, len(text))
		fmt.Fprintln(&b, text[:n])
		text = text[n:]
	}
	fmt.Fprint(&b, pemEnd)
	return b.Bytes()
}
