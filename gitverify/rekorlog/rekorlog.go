// Package rekorlog asks a Rekor v1 server for the log entry of a signature that
// carries none, where a trust policy says log: online and the caller hands the
// look-up in. It is apart from gitverify so that gitverify itself has no
// network: no log can be asked for its own key (row B21).
//
// It finds what gitsign logs in both of its modes. With rekorMode=online, the
// default, that is a second signature, over the object's name, and the server's
// search index is asked for it, by the name's digest and the signer's certificate
// together: only who has the key of that certificate can add to the answer. With
// rekorMode=offline the body of the entry follows from the signature, and the
// leaf is asked for by its hash, which needs no index.
//
// It tells the server which signature is being verified, and when. What comes
// back is believed no more than an entry inside a signature; what was not asked
// for is no answer. It refuses to follow a server to another, more than nine
// entries, and answers of more than 128 KiB.
package rekorlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"time"

	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/protobuf/proto"

	"millwright.dev/millwright/gitverify"
)

// Bounds on one signature and on each answer; an entry has about five kilobytes.
// Rekor takes ten names at a time: that of the leaf, and those that were found.
const (
	timeout   = 30 * time.Second
	maxAnswer = 128 << 10
	maxFound  = 9
)

// Lookup is a [gitverify.LogLookup] at a Rekor v1 server.
type Lookup struct {
	index, entries string
	client         *http.Client
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
	return &Lookup{
		index: u.JoinPath("api/v1/index/retrieve").String(), entries: u.JoinPath("api/v1/log/entries/retrieve").String(), client: &own,
	}, nil
}

// entry is an entry as Rekor v1 writes it.
type entry struct {
	Body           []byte `json:"body"`
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
func (l *Lookup) Find(ctx context.Context, q gitverify.Question) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	named, unsearched := l.search(ctx, q)
	found, err := l.retrieve(ctx, append([]string{leafOf(q.Body)}, named...))
	switch {
	case err != nil:
		return nil, err
	case len(found) != 0:
		return found, nil
	case unsearched != nil:
		return nil, fmt.Errorf("the log has no entry of the signature itself, and whether it has one by the name of what was signed could not be told: %w", unsearched)
	}
	return nil, fmt.Errorf("%w: neither leaf %s nor an entry over %s", gitverify.ErrNotLogged, leafOf(q.Body), q.Object)
}

// leafOf is the name of an entry: the hash of its leaf in the tree.
func leafOf(body []byte) string { return hex.EncodeToString(rfc6962.DefaultHasher.HashLeaf(body)) }

// query is a question to the search index.
type query struct {
	Hash      string    `json:"hash"`
	PublicKey publicKey `json:"publicKey"`
	Operator  string    `json:"operator"`
}

type publicKey struct {
	Format  string `json:"format"`
	Content []byte `json:"content"`
}

// entryName is what the index answers with: the hash of a leaf, after the tree
// where the log has several.
var entryName = regexp.MustCompile(`^(?:[0-9a-f]{16})?([0-9a-f]{64})$`)

// search finds the names of entries over the object's name.
func (l *Lookup) search(ctx context.Context, q gitverify.Question) ([]string, error) {
	digest := sha256.Sum256([]byte(q.Object))
	question, err := json.Marshal(query{Hash: "sha256:" + hex.EncodeToString(digest[:]), PublicKey: publicKey{"x509", q.Certificate}, Operator: "and"})
	if err != nil {
		return nil, fmt.Errorf("making the question: %w", err)
	}
	answer, err := l.ask(ctx, l.index, question)
	if err != nil {
		return nil, err
	}
	var names []string
	if err := json.Unmarshal(answer, &names); err != nil {
		return nil, errors.New("the answer of the log's index is not a list of names")
	}
	if len(names) > maxFound {
		return nil, fmt.Errorf("the log's index has %d entries, more than %d", len(names), maxFound)
	}
	for _, name := range names {
		if !entryName.MatchString(name) {
			return nil, errors.New("the answer of the log's index names no entry")
		}
	}
	return names, nil
}

// retrieve gets entries by their names.
func (l *Lookup) retrieve(ctx context.Context, names []string) ([][]byte, error) {
	asked := map[string]bool{}
	for _, name := range names {
		asked[entryName.FindStringSubmatch(name)[1]] = true
	}
	question, err := json.Marshal(map[string][]string{"entryUUIDs": names})
	if err != nil {
		return nil, fmt.Errorf("making the question: %w", err)
	}
	answer, err := l.ask(ctx, l.entries, question)
	if err != nil {
		return nil, err
	}
	var found []map[string]entry
	if err := json.Unmarshal(answer, &found); err != nil {
		return nil, errors.New("the log's answer is not a list of entries")
	}
	var all [][]byte
	for _, entries := range found {
		for _, e := range entries {
			if !asked[leafOf(e.Body)] || len(all) == len(names) {
				return nil, errors.New("the log answered with other entries than were asked for")
			}
			encoded, err := e.encode()
			if err != nil {
				return nil, err
			}
			all = append(all, encoded)
		}
	}
	return all, nil
}

// ask posts the question and reads a bounded answer.
func (l *Lookup) ask(ctx context.Context, url string, question []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(question))
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

// encode writes the entry as gitsign embeds it, with its body.
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
		KindVersion:       &rekorpb.KindVersion{Kind: "hashedrekord", Version: "0.0.1"},
		CanonicalizedBody: e.Body,
		InclusionPromise:  &rekorpb.InclusionPromise{SignedEntryTimestamp: e.Verification.SignedEntryTimestamp},
		InclusionProof: &rekorpb.InclusionProof{
			LogIndex: p.LogIndex, RootHash: root, TreeSize: p.TreeSize, Hashes: hashes, Checkpoint: &rekorpb.Checkpoint{Envelope: p.Checkpoint},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the log's answer: %w", err)
	}
	return encoded, nil
}
