package gitverify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/github/smimesign/ietf-cms/protocol"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/proto"
)

// Refereed proves the signature of a commit in three ways: by our own proving,
// by sigstore-go from the same parts, and by sigstore-go from parts that other
// code took out of it, with none of our strictness. It returns an error when
// they disagree in a way that strictness does not explain. yes is our answer.
func Refereed(trustedRoot TrustedRoot, commit []byte) (yes bool, err error) {
	v, err := newSignatureVerifier(trustedRoot)
	if err != nil {
		return false, err
	}
	c, err := splitCommit(commit)
	if err != nil || c.armored == nil {
		return false, nil //nolint:nilerr // not about signatures
	}
	return v.refereed(c.payload, c.armored)
}

// Forgetful makes a verifier one that reads again whatever it needs again, so that
// each of its reads may fail.
func Forgetful(v *Verifier) *Verifier {
	v.trees, v.keeps = nil, -1
	return v
}

// strictness are the codes with which we refuse what sigstore-go never looks
// at: parts that nothing signs, in forms that gitsign does not write.
func strictness(code string) bool {
	switch code {
	case codeEncoding, codeType, codeAttributes, codeAmbiguous, codeNoCert, codeAlgorithm, codeNotDetached, codeSignatureSize, codeEntry, codeCheckpoint, codeTSA:
		return true
	}
	return false
}

func (v *signatureVerifier) refereed(payload, armored []byte) (yes bool, err error) {
	digest := sha256.Sum256(payload)
	ev, ourErr := v.gather(digest, armored)
	var ours proof
	if ourErr == nil {
		if ours, ourErr = v.trusted.prove(ev); errors.Is(ourErr, errBeyond) {
			return false, errors.New("the fast path could not tell")
		}
		if err := v.sameAnswer(ev, ours, ourErr); err != nil {
			return false, err
		}
	}
	theirs, theirErr := v.loosely(payload, armored)
	switch refusal, _ := errors.AsType[*Refusal](ourErr); {
	case ourErr == nil && theirErr != nil:
		return false, fmt.Errorf("we say yes, sigstore-go alone says %w", theirErr)
	case ourErr == nil && (theirs.certified != ours.certified || !theirs.at.Equal(ours.at) || theirs.stamped != ours.stamped || theirs.seen != ours.seen):
		return false, fmt.Errorf("we prove %+v, sigstore-go alone %+v", ours, theirs)
	case ourErr != nil && theirErr == nil && (refusal == nil || !strictness(refusal.Code)):
		return false, fmt.Errorf("sigstore-go alone says yes, we say %w", ourErr)
	}
	return ourErr == nil, nil
}

// notABundle says that sigstore-go took an entry for none before it asked whether
// the log knows it.
func notABundle(err error) bool {
	return codeOf(err) == codeEntry && strings.Contains(err.Error(), "does not make a Sigstore bundle")
}

// sameAnswer asks sigstore-go about the same parts: it has to say the same, and
// for the same reason.
func (v *signatureVerifier) sameAnswer(ev evidence, ours proof, ourErr error) error {
	theirs, theirErr := v.referee.prove(ev)
	switch {
	case (ourErr == nil) != (theirErr == nil):
		return fmt.Errorf("we say %v, sigstore-go says %v", ourErr, theirErr) //nolint:errorlint // two answers side by side
	case ourErr != nil && codeOf(ourErr) != codeOf(theirErr) && !notABundle(theirErr):
		return fmt.Errorf("we refuse for %v, sigstore-go for %v", ourErr, theirErr) //nolint:errorlint // two answers side by side
	case ourErr != nil:
		return nil //nolint:nilerr // both refuse, for the same reason
	case theirs.certified != ours.certified || !theirs.at.Equal(ours.at) || theirs.stamped != ours.stamped || theirs.seen != ours.seen || theirs.logIndex != ours.logIndex:
		return fmt.Errorf("we prove %+v, sigstore-go %+v", ours, theirs)
	}
	for _, name := range ours.relied { // what we rely on is part of all there is
		if !bytes.Contains([]byte(fmt.Sprint(theirs.relied)), []byte(name)) {
			return fmt.Errorf("we rely on %s, which is not in the trusted root", name)
		}
	}
	return nil
}

// lenient guards the BER reader of smimesign, which counts in a global.
var lenient sync.Mutex

func parseLeniently(der []byte) (protocol.ContentInfo, error) {
	lenient.Lock()
	defer lenient.Unlock()
	return protocol.ParseContentInfo(der)
}

// loosely proves with a lenient CMS library and sigstore-go, and believes
// whatever they make of the bytes.
func (v *signatureVerifier) loosely(payload, armored []byte) (p proof, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	block, _ := pem.Decode(armored)
	if block == nil {
		return proof{}, errors.New("no PEM")
	}
	info, err := parseLeniently(block.Bytes)
	if err != nil {
		return proof{}, err
	}
	data, err := info.SignedDataContent()
	if err != nil || len(data.SignerInfos) == 0 {
		return proof{}, errors.Join(err, errors.New("no signer"))
	}
	signer := data.SignerInfos[0]
	certs, err := data.X509Certificates()
	if err != nil {
		return proof{}, err
	}
	leaf, err := signer.FindCertificate(certs)
	if err != nil {
		return proof{}, err
	}
	sum := sha256.Sum256(payload)
	if digest, err := signer.GetMessageDigestAttribute(); err != nil || !bytes.Equal(digest, sum[:]) {
		return proof{}, errors.Join(err, errors.New("other content"))
	}
	ev := evidence{cmsSignature: cmsSignature{leaf: leaf, signature: signer.Signature}}
	if ev.signed, err = signer.SignedAttrs.MarshaledForVerification(); err != nil {
		return proof{}, err
	}
	ev.digest = sha256.Sum256(ev.signed)
	if ev.log, err = looseEntry(ev.cmsSignature, signer); err != nil {
		return proof{}, err
	}
	if signer.UnsignedAttrs.HasAttribute([]int{1, 2, 840, 113549, 1, 9, 16, 2, 14}) {
		value, err := signer.UnsignedAttrs.GetOnlyAttributeValueBytes([]int{1, 2, 840, 113549, 1, 9, 16, 2, 14})
		if err != nil {
			return proof{}, err
		}
		ev.token, ev.stamp = value.FullBytes, &token{}
	}
	return v.referee.prove(ev)
}

// looseEntry makes the body as the standard JSON encoder writes it.
func looseEntry(s cmsSignature, signer protocol.SignerInfo) (loggedEntry, error) {
	value, err := signer.UnsignedAttrs.GetOnlyAttributeValueBytes([]int{1, 3, 6, 1, 4, 1, 57264, 3, 1})
	if err != nil {
		return loggedEntry{}, err
	}
	entry := new(rekorpb.TransparencyLogEntry)
	if err := proto.Unmarshal(value.Bytes, entry); err != nil {
		return loggedEntry{}, err
	}
	origin, _, _ := bytes.Cut([]byte(entry.GetInclusionProof().GetCheckpoint().GetEnvelope()), []byte("\n"))
	note := signedNote{origin: string(origin)}
	if len(entry.GetCanonicalizedBody()) != 0 {
		return loggedEntry{entry, note}, nil
	}
	type object = map[string]any
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.leaf.Raw})
	entry.CanonicalizedBody, err = json.Marshal(object{
		"apiVersion": "0.0.1",
		"kind":       "hashedrekord",
		"spec": object{
			"data":      object{"hash": object{"algorithm": "sha256", "value": hex.EncodeToString(s.digest[:])}},
			"signature": object{"content": s.signature, "publicKey": object{"content": cert}},
		},
	})
	return loggedEntry{entry, note}, err
}

// Parts counts what a trusted root holds, and how much of it is beyond our own
// proving.
func (t TrustedRoot) Parts() (authorities, certificateLogs, logs, stampers, beyond int) {
	a := t.anchors
	for _, ca := range a.authorities {
		if ca.constrained {
			beyond++
		}
	}
	for _, keys := range []map[string]*logKey{a.certificateLogs, a.logs} {
		for _, k := range keys {
			if k.key == nil {
				beyond++
			}
		}
	}
	return len(a.authorities), len(a.certificateLogs), len(a.logs), len(a.stampers), beyond
}
