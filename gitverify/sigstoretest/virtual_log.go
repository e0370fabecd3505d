package sigstoretest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/bits"
	"sync"
	"time"

	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/rekor/pkg/util"
	"github.com/sigstore/sigstore/pkg/signature"
)

const (
	virtualLogName = "rekor.virtual.test"
	virtualTreeID  = 1
)

// virtualLog is a transparency log in the shape of Rekor v1: a real Merkle tree
// (RFC 6962 §2.1), signed checkpoints, and signed promises of inclusion.
type virtualLog struct {
	key *ecdsa.PrivateKey
	mu  sync.Mutex
	// levels hold the heads of all complete subtrees, the leaves at level 0, so
	// that a log of many thousand entries is made in seconds.
	levels [][][]byte
}

// HashedRekord is the canonical body of a hashedrekord 0.0.1 entry: JSON
// with sorted keys and no space (RFC 8785), which the standard encoder writes
// for this content, since base64 and hex hold nothing that it would escape.
func HashedRekord(artifact, sig []byte, cert *x509.Certificate) ([]byte, error) {
	digest := sha256.Sum256(artifact)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	return json.Marshal(map[string]any{
		"apiVersion": "0.0.1", "kind": "hashedrekord",
		"spec": map[string]any{
			"data":      map[string]any{"hash": map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(digest[:])}},
			"signature": map[string]any{"content": sig, "publicKey": map[string]any{"content": certPEM}},
		},
	})
}

// add appends an entry and returns it with proof and promise.
func (l *virtualLog) add(body []byte, at time.Time) (*rekorpb.TransparencyLogEntry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	leaf := sha256.Sum256(append([]byte{0}, body...))
	size := l.grow(leaf[:])
	index := int64(size - 1)
	root := l.head(0, size)
	signer, err := signature.LoadECDSASigner(l.key, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	checkpoint, err := util.CreateAndSignCheckpoint(context.Background(), virtualLogName, virtualTreeID, uint64(size), root, signer)
	if err != nil {
		return nil, fmt.Errorf("signing a checkpoint: %w", err)
	}
	promise, err := l.promise(body, at, index)
	if err != nil {
		return nil, fmt.Errorf("signing a promise of inclusion: %w", err)
	}
	id, err := logID(l.key.Public())
	if err != nil {
		return nil, err
	}
	return &rekorpb.TransparencyLogEntry{
		LogIndex: index, LogId: &commonpb.LogId{KeyId: id[:]},
		KindVersion:      &rekorpb.KindVersion{Kind: "hashedrekord", Version: "0.0.1"},
		IntegratedTime:   at.Unix(),
		InclusionPromise: &rekorpb.InclusionPromise{SignedEntryTimestamp: promise},
		InclusionProof: &rekorpb.InclusionProof{
			LogIndex: index, RootHash: root, TreeSize: int64(size),
			Hashes:     l.auditPath(size-1, 0, size),
			Checkpoint: &rekorpb.Checkpoint{Envelope: string(checkpoint)},
		},
		CanonicalizedBody: body,
	}, nil
}

// promise is Rekor v1's signed entry timestamp: the signature over the
// canonical JSON of body, time, log and index.
func (l *virtualLog) promise(body []byte, at time.Time, index int64) ([]byte, error) {
	id, err := logID(l.key.Public())
	if err != nil {
		return nil, err
	}
	payload, err := json.Marshal(map[string]any{
		"body": base64.StdEncoding.EncodeToString(body), "integratedTime": at.Unix(),
		"logID": hex.EncodeToString(id[:]), "logIndex": index,
	})
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(payload)
	return l.key.Sign(nil, digest[:], crypto.SHA256)
}

// grow appends a leaf and returns the number of leaves.
func (l *virtualLog) grow(hash []byte) int {
	for level := 0; ; level++ {
		if level == len(l.levels) {
			l.levels = append(l.levels, nil)
		}
		l.levels[level] = append(l.levels[level], hash)
		n := len(l.levels[level])
		if n%2 == 1 {
			return len(l.levels[0])
		}
		hash = node(l.levels[level][n-2], hash)
	}
}

// head is MTH of RFC 6962 §2.1 for n leaves from the first one; first is a
// multiple of the largest power of two that n holds.
func (l *virtualLog) head(first, n int) []byte {
	if n&(n-1) == 0 {
		level := bits.Len(uint(n)) - 1
		return l.levels[level][first>>level]
	}
	k := split(n)
	return node(l.head(first, k), l.head(first+k, n-k))
}

// auditPath is PATH of RFC 6962 §2.1.1.
func (l *virtualLog) auditPath(m, first, n int) [][]byte {
	if n == 1 {
		return nil
	}
	k := split(n)
	if m < k {
		return append(l.auditPath(m, first, k), l.head(first+k, n-k))
	}
	return append(l.auditPath(m-k, first+k, n-k), l.head(first, k))
}

// split is the largest power of two below n.
func split(n int) int { return 1 << (bits.Len(uint(n-1)) - 1) }

func node(left, right []byte) []byte {
	h := sha256.New()
	h.Write([]byte{1})
	h.Write(left)
	h.Write(right)
	return h.Sum(nil)
}
