package gitverify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"strconv"
	"time"

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/protobuf/proto"
)

// loggedEntry is a log entry that belongs to a signature, with its body.
type loggedEntry struct {
	*rekorpb.TransparencyLogEntry
	note signedNote
}

// promised says whether the log signed the entry's time and index.
func (e loggedEntry) promised() bool {
	return len(e.GetInclusionPromise().GetSignedEntryTimestamp()) != 0
}

// provenIndex is the entry's index in the log where the log's promise covers
// it; without a promise whoever carried the commit may have written the number.
func (e loggedEntry) provenIndex() int64 {
	if !e.promised() {
		return -1
	}
	return e.GetLogIndex()
}

// entered is the log's time for the entry, zero if it signed none.
func (e loggedEntry) entered() time.Time {
	if !e.promised() || e.GetIntegratedTime() == 0 {
		return time.Time{}
	}
	return time.Unix(e.GetIntegratedTime(), 0).UTC()
}

// seen is what a verified entry says of its log.
func (e loggedEntry) seen() checkpoint {
	p := e.GetInclusionProof()
	return checkpoint{
		origin: e.note.origin, key: hex.EncodeToString(e.GetLogId().GetKeyId()),
		size: uint64(p.GetTreeSize()), root: [sha256.Size]byte(p.GetRootHash()), //nolint:gosec // positive, or it is not verified
		index: uint64(p.GetLogIndex()), leaf: [sha256.Size]byte(rfc6962.DefaultHasher.HashLeaf(e.GetCanonicalizedBody())), //nolint:gosec // the same
		entered: e.entered(),
	}
}

// logEntry decodes the entry inside the signature and puts in its body, which
// gitsign leaves out: it is made again from the signature, so that an entry of
// another signature cannot fit (rows B15, B16).
func (s cmsSignature) logEntry() (loggedEntry, error) {
	if s.entry == nil {
		return loggedEntry{}, refuse(codeNotLogged, "the signature carries no log entry")
	}
	entry, err := decodeEntry(s.entry)
	if err != nil {
		return loggedEntry{}, err
	}
	note, err := checkEntry(entry)
	if err != nil {
		return loggedEntry{}, err
	}
	body := s.hashedRekord()
	if b := entry.GetCanonicalizedBody(); len(b) != 0 && !bytes.Equal(b, body) {
		return loggedEntry{}, refuse(codeEntryMismatch, "the log entry is for another signature")
	}
	entry.CanonicalizedBody = body
	return loggedEntry{entry, note}, nil
}

func decodeEntry(encoded []byte) (*rekorpb.TransparencyLogEntry, error) {
	entry := new(rekorpb.TransparencyLogEntry)
	// A field that this version does not know could hide a known one: the log's
	// promise, say. Discarded, it shows up when the entry is encoded again.
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(encoded, entry); err != nil {
		return nil, refuse(codeEntry, "the log entry cannot be decoded")
	}
	again, err := proto.MarshalOptions{Deterministic: true}.Marshal(entry)
	if err != nil || !bytes.Equal(again, encoded) {
		return nil, refuse(codeEntry, "the log entry is not encoded canonically")
	}
	return entry, nil
}

// checkEntry looks at the form of an entry; whether it is true is for the
// trusted root to say.
func checkEntry(entry *rekorpb.TransparencyLogEntry) (signedNote, error) {
	if k := entry.GetKindVersion(); k.GetKind() != "hashedrekord" || k.GetVersion() != "0.0.1" {
		return signedNote{}, refuse(codeEntry, "log entry of kind %q version %q", k.GetKind(), k.GetVersion())
	}
	if entry.GetLogIndex() < 0 || len(entry.GetLogId().GetKeyId()) != sha256.Size {
		return signedNote{}, refuse(codeEntry, "the log entry names no log or no place in it")
	}
	if entry.GetInclusionProof() == nil {
		return signedNote{}, refuse(codeNoProof, "the log entry carries no inclusion proof")
	}
	return readCheckpoint(entry.GetInclusionProof())
}

func (s cmsSignature) hashedRekord() []byte { return hashedRekord(s.digest, s.signature, s.leaf) }

// hashedRekord is the canonical body of Rekor's hashedrekord 0.0.1: JSON with
// sorted keys and no space (RFC 8785). Neither hex nor base64 holds a character
// that JSON would escape.
func hashedRekord(digest [sha256.Size]byte, signature []byte, leaf *x509.Certificate) []byte {
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw})
	b := make([]byte, 0, 320+base64.StdEncoding.EncodedLen(len(signature))+base64.StdEncoding.EncodedLen(len(cert)))
	b = append(b, `{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"`...)
	b = hex.AppendEncode(b, digest[:])
	b = append(b, `"}},"signature":{"content":"`...)
	b = base64.StdEncoding.AppendEncode(b, signature)
	b = append(b, `","publicKey":{"content":"`...)
	b = base64.StdEncoding.AppendEncode(b, cert)
	return append(b, `"}}}}`...)
}

// promise is what Rekor v1 signs as its promise to include an entry (the signed
// entry timestamp): canonical JSON again.
func (e loggedEntry) promise() []byte {
	body := e.GetCanonicalizedBody()
	b := make([]byte, 0, 200+base64.StdEncoding.EncodedLen(len(body)))
	b = append(b, `{"body":"`...)
	b = base64.StdEncoding.AppendEncode(b, body)
	b = append(b, `","integratedTime":`...)
	b = strconv.AppendInt(b, e.GetIntegratedTime(), 10)
	b = append(b, `,"logID":"`...)
	b = hex.AppendEncode(b, e.GetLogId().GetKeyId())
	b = append(b, `","logIndex":`...)
	b = strconv.AppendInt(b, e.GetLogIndex(), 10)
	return append(b, '}')
}

// logged verifies that a log of the trusted root holds the entry: its promise,
// if there is one, and its proof of inclusion.
func (a *anchors) logged(e loggedEntry) (*logKey, error) {
	log, known := a.logs[string(e.GetLogId().GetKeyId())]
	if !known {
		return nil, refuse(codeLogUnknown, "the entry is of log %s, which is not in the trusted root", hex.EncodeToString(e.GetLogId().GetKeyId()))
	}
	if log.key == nil {
		return nil, errBeyond
	}
	if e.promised() {
		digest := sha256.Sum256(e.promise())
		if !ecdsa.VerifyASN1(log.key, digest[:], e.GetInclusionPromise().GetSignedEntryTimestamp()) {
			return nil, refuse(codeEntryMismatch, "the log did not promise to include this signature")
		}
	}
	p := e.GetInclusionProof()
	index, size := p.GetLogIndex(), p.GetTreeSize()
	if index < 0 || size < 1 {
		return nil, refuse(codeProof, "the inclusion proof is for no place in a log")
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(e.GetCanonicalizedBody())
	if err := merkle.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(size), leaf, p.GetHashes(), p.GetRootHash()); err != nil {
		code := codeProof
		if !e.promised() {
			code = codeEntryMismatch // nothing else ties the entry to this signature
		}
		return nil, refuse(code, "the inclusion proof does not hold for this signature")
	}
	return log, e.note.signedBy(log)
}
