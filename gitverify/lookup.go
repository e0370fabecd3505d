package gitverify

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
)

// ErrNotLogged is what a [LogLookup] wraps when the log answered, and has no
// such entry.
var ErrNotLogged = errors.New("not in the log")

// Question names the entries that can belong to a signature which carries none.
type Question struct {
	// Body is the whole body of the entry that gitsign makes with
	// rekorMode=offline: it follows from the signature.
	Body []byte
	// Object is the name of the signed commit or tag. With rekorMode=online
	// gitsign signs that name once more, as text in hex, and logs this second
	// signature: such an entry has SHA-256 of the name as its digest, and
	// Certificate, which is PEM, as its public key.
	Object      ID
	Certificate []byte
}

// LogLookup asks a transparency log for the entry of a signature that carries
// none. What it answers is believed no more than an entry inside a signature
// is: what does not belong to the signature is passed over, and on what does,
// the same checks follow.
type LogLookup interface {
	// Find returns what the log has, at most [MaxFound] entries, each as an encoded
	// dev.sigstore.rekor.v1.TransparencyLogEntry with body and inclusion proof. An
	// error that wraps [ErrNotLogged] is the log's own no; any other means that it
	// could not be told.
	Find(ctx context.Context, q Question) (entries [][]byte, err error)
}

// FromLog tells whether an answer of Verify is a no for which a log was asked.
// Such a no is not final: the entry may be made later, and a log may be mistaken.
func FromLog(err error) bool {
	no, ok := errors.AsType[*Refusal](err)
	return ok && no.asked
}

// Bounds on what a log may answer; an entry has about five kilobytes, and a
// signature has one, or two when somebody plays with it.
const (
	MaxFound  = 16
	maxEntry  = 128 << 10
	maxAnswer = 256 << 10
)

// inquiry is whom to ask, and about which object; nil: nobody.
type inquiry struct {
	log    LogLookup
	object ID
}

func inquire(log LogLookup, object ID) *inquiry {
	if log == nil {
		return nil
	}
	return &inquiry{log, object}
}

// nameSignature is a signature over the name of an object, made by the key that
// signed the object itself.
type nameSignature struct {
	object    ID
	signature []byte
}

// ask proves a signature with what the log has. Whoever answers chooses the
// entries, so each is tried, and of several that hold the earliest counts: by
// then the object certainly existed.
func (v *signatureVerifier) ask(ctx context.Context, ev evidence, ask *inquiry) (p proof, err error) {
	defer func() {
		if no, ok := errors.AsType[*Refusal](err); ok {
			open := *no
			open.asked = true
			err = &open
		}
	}()
	entries, err := ask.find(ctx, ev.cmsSignature)
	if err != nil {
		return proof{}, err
	}
	var no error
	for _, encoded := range entries {
		q, err := v.try(ev, encoded, ask.object)
		switch {
		case errors.Is(err, errForeign):
		case err == nil && (p.at.IsZero() || q.at.Before(p.at)):
			p = q
		case err != nil && (no == nil || codeOf(err) == ""): // not to know outweighs a no
			no = err
		}
	}
	switch {
	case !p.at.IsZero():
		return p, nil
	case no != nil:
		return proof{}, no
	}
	return proof{}, refuse(codeNotLogged, "the signature carries no log entry, and the log has none")
}

func (v *signatureVerifier) try(ev evidence, encoded []byte, object ID) (proof, error) {
	ev, err := ev.with(encoded, object)
	if err != nil {
		return proof{}, err
	}
	return v.decide(ev)
}

// find asks, and bounds the answer.
func (a *inquiry) find(ctx context.Context, sig cmsSignature) ([][]byte, error) {
	entries, err := a.log.Find(ctx, Question{Body: sig.hashedRekord(), Object: a.object, Certificate: sig.certificatePEM()})
	size := 0
	for _, e := range entries {
		size += len(e)
	}
	switch {
	case errors.Is(err, ErrNotLogged):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("asking the log for the entry of a signature: %w", err)
	case len(entries) == 0 || len(entries) > MaxFound || size > maxAnswer:
		return nil, fmt.Errorf("asking the log for the entry of a signature: the answer has %d entries of %d bytes", len(entries), size)
	}
	return entries, nil
}

// errForeign is for an entry that belongs to something else. Whoever keeps a key
// for several commits has the entries of all of them in one log.
var errForeign = errors.New("the entry of something else")

// with adds an entry that a log has: that of the signature itself, or one over
// the object's name by the same key with the same certificate. That the name is
// of this object, with the signature in it, was found by hashing it.
func (ev evidence) with(encoded []byte, object ID) (evidence, error) {
	if len(encoded) > maxEntry {
		return evidence{}, refuse(codeEntry, "a log entry of %d bytes", len(encoded))
	}
	entry, err := decodeEntry(encoded)
	if err != nil {
		return evidence{}, err
	}
	body := entry.GetCanonicalizedBody()
	if !bytes.Equal(body, ev.hashedRekord()) {
		if ev.name = ev.overName(object, body); ev.name == nil {
			return evidence{}, errForeign
		}
	}
	note, err := checkEntry(entry)
	ev.log = loggedEntry{entry, note}
	return ev, err
}

// overName takes the signature over an object's name out of the body of an entry;
// nil if it is no such body, or if another key made it. No JSON is read: what
// surrounds the signature is known, and what is left has one form.
func (s cmsSignature) overName(object ID, body []byte) *nameSignature {
	digest := sha256.Sum256([]byte(object))
	before, after, _ := bytes.Cut(hashedRekord(digest, []byte("*"), s.leaf), []byte(base64.StdEncoding.EncodeToString([]byte("*"))))
	rest, begins := bytes.CutPrefix(body, before)
	encoded, ends := bytes.CutSuffix(rest, after)
	if !begins || !ends || !object.valid() {
		return nil
	}
	signature, err := base64.StdEncoding.DecodeString(string(encoded))
	if err != nil || !bytes.Equal(hashedRekord(digest, signature, s.leaf), body) || !ecdsa.VerifyASN1(s.key, digest[:], signature) {
		return nil
	}
	return &nameSignature{object, signature}
}

// logged is what the entry is a signature over, and the signature.
func (ev evidence) logged() (artifact, signature []byte) {
	if ev.name != nil {
		return []byte(ev.name.object), ev.name.signature
	}
	return ev.signed, ev.signature
}

func (s cmsSignature) certificatePEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.leaf.Raw})
}
