// Package rekorlog asks a Rekor v1 server for the log entry of a signature that
// carries none, where a trust policy says log: online and the caller hands the
// look-up in. It is apart from gitverify so that gitverify itself has no
// network: no log can be asked for its own key (row B21).
//
// It tells the server which signature is being verified, and when. It asks for
// one leaf by its hash, so that the server chooses nothing, and needs no search
// index there. What comes back is believed no more than an entry inside a
// signature. It refuses to follow a server to another, and answers of more than
// 128 KiB.
//
// It finds the entries that gitsign writes with rekorMode=offline, whose body
// follows from the signature. With rekorMode=online gitsign logs another
// signature instead, over the commit's name, which is not in the commit.
package rekorlog

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/protobuf/proto"

	"millwright.dev/millwright/gitverify"
)

// Bounds on one question and its answer; an entry has about five kilobytes.
const (
	timeout   = 30 * time.Second
	maxAnswer = 128 << 10
)

// Lookup is a [gitverify.LogLookup] at a Rekor v1 server.
type Lookup struct {
	url    string
	client *http.Client
}

// New makes a look-up at a server, for example https://rekor.sigstore.dev.
func New(server string, client *http.Client) (*Lookup, error) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is not the URL of a log", server)
	}
	if client == nil {
		return nil, errors.New("a log cannot be asked without an HTTP client")
	}
	own := *client
	// Whoever is named is asked, and nobody that they name.
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Lookup{url: u.JoinPath("api/v1/log/entries/retrieve").String(), client: &own}, nil
}

// entry is an entry as Rekor v1 writes it.
type entry struct {
	Body           string `json:"body"`
	IntegratedTime int64  `json:"integratedTime"`
	LogID          string `json:"logID"`
	LogIndex       int64  `json:"logIndex"`
	Verification   struct {
		InclusionProof struct {
			Checkpoint string   `json:"checkpoint"`
			Hashes     []string `json:"hashes"`
			LogIndex   int64    `json:"logIndex"`
			RootHash   string   `json:"rootHash"`
			TreeSize   int64    `json:"treeSize"`
		} `json:"inclusionProof"`
		SignedEntryTimestamp []byte `json:"signedEntryTimestamp"`
	} `json:"verification"`
}

// Find implements [gitverify.LogLookup].
func (l *Lookup) Find(ctx context.Context, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	leaf := hex.EncodeToString(rfc6962.DefaultHasher.HashLeaf(body))
	answer, err := l.ask(ctx, fmt.Appendf(nil, `{"entryUUIDs":[%q]}`, leaf))
	if err != nil {
		return nil, err
	}
	var found []map[string]entry
	if err := json.Unmarshal(answer, &found); err != nil {
		return nil, errors.New("the log's answer is not a list of entries")
	}
	wanted := base64.StdEncoding.EncodeToString(body)
	for _, entries := range found {
		for _, e := range entries {
			if e.Body == wanted {
				return e.encode()
			}
		}
	}
	if len(found) != 0 {
		return nil, errors.New("the log answered with other entries than were asked for")
	}
	return nil, fmt.Errorf("%w: no leaf %s", gitverify.ErrNotLogged, leaf)
}

// ask posts the question and reads a bounded answer.
func (l *Lookup) ask(ctx context.Context, question []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url, bytes.NewReader(question))
	if err != nil {
		return nil, fmt.Errorf("making the question: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	resp, err := l.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the log: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the log's answer: %w", err)
	case resp.StatusCode != http.StatusOK:
		// Not even 404: a server that knows no such question has not said no.
		return nil, fmt.Errorf("the log answered %d, not 200", resp.StatusCode)
	case len(answer) > maxAnswer:
		return nil, fmt.Errorf("the log's answer has more than %d bytes", maxAnswer)
	}
	return answer, nil
}

// encode writes the entry as gitsign embeds it: without its body.
func (e entry) encode() ([]byte, error) {
	id, err := hex.DecodeString(e.LogID)
	if err != nil {
		return nil, errors.New("the log's answer names no log")
	}
	p := e.Verification.InclusionProof
	root, err := hex.DecodeString(p.RootHash)
	if err != nil {
		return nil, errors.New("the root in the log's answer cannot be read")
	}
	hashes := make([][]byte, len(p.Hashes))
	for i, h := range p.Hashes {
		if hashes[i], err = hex.DecodeString(h); err != nil {
			return nil, errors.New("a hash in the log's answer cannot be read")
		}
	}
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(&rekorpb.TransparencyLogEntry{
		LogIndex: e.LogIndex, LogId: &commonpb.LogId{KeyId: id}, IntegratedTime: e.IntegratedTime,
		KindVersion:      &rekorpb.KindVersion{Kind: "hashedrekord", Version: "0.0.1"},
		InclusionPromise: &rekorpb.InclusionPromise{SignedEntryTimestamp: e.Verification.SignedEntryTimestamp},
		InclusionProof: &rekorpb.InclusionProof{
			LogIndex: p.LogIndex, RootHash: root, TreeSize: p.TreeSize, Hashes: hashes, Checkpoint: &rekorpb.Checkpoint{Envelope: p.Checkpoint},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the log's answer: %w", err)
	}
	return encoded, nil
}
