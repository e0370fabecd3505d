package gitverify

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"time"
)

// proof is what a signature proves, whoever may do what. It depends on the
// signature, on what was signed and on the trusted root, and on no policy, so
// that it may be kept, and made beside others.
type proof struct {
	certified
	// at is the earliest time by which the signature certainly existed; stamped
	// says that a timestamp authority vouches for it.
	at      time.Time
	stamped bool
	// logIndex is where the log promised to keep the entry, -1 if it did not.
	logIndex int64
	// payload is the digest of what was signed, which names the content in
	// whatever form it is signed and wrapped (rule T9).
	payload [sha256.Size]byte
	// relied are the fingerprints of what the proof rests on in the trusted root.
	relied []string
	// seen is the state of the log that the inclusion was proven for (row B27).
	seen checkpoint
}

// signatureVerifier verifies single signatures against the trusted root. It
// does so itself, each check once (decision 0004); sigstore-go decides where
// the trusted root has a part that it does not know how to use.
type signatureVerifier struct {
	trusted *anchors
	referee *referee
}

func newSignatureVerifier(root TrustedRoot) (*signatureVerifier, error) {
	r, err := newReferee(root)
	if err != nil {
		return nil, err
	}
	return &signatureVerifier{trusted: root.anchors, referee: r}, nil
}

// prove says who signed the payload, and when. An armored of nil is an unsigned
// commit or tag. A signature without a log entry is asked for where somebody may
// be asked, and refused otherwise. A panic in any parser below is a refusal
// of this signature, and of nothing else (row B33, GHSA-7c37-gx6w-8vc5).
func (v *signatureVerifier) prove(ctx context.Context, payload, armored []byte, ask *inquiry) (p proof, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			no := refuse(codePanic, "the verifier failed on this signature: %v", cause)
			no.asked = ask != nil // then the cause may be what a log answered
			p, err = proof{}, no
		}
	}()
	if armored == nil {
		return proof{}, refuse(codeMissing, "it is not signed")
	}
	digest := sha256.Sum256(payload)
	ev, err := v.gather(digest, armored)
	switch {
	case err == nil:
		p, err = v.decide(ev)
	case ask != nil && codeOf(err) == codeNotLogged:
		p, err = v.ask(ctx, ev, ask)
	}
	if err != nil {
		return proof{}, err
	}
	p.payload = digest
	return p, nil
}

func (v *signatureVerifier) decide(ev evidence) (proof, error) {
	p, err := v.trusted.prove(ev)
	if errors.Is(err, errBeyond) {
		return v.referee.prove(ev)
	}
	return p, err
}

// evidence is a signature with all that should prove it, in its one form, and
// made by the key of the certificate in it. None of it is believed yet.
type evidence struct {
	cmsSignature
	log   loggedEntry
	stamp *token
	// name is what the entry is about if it is not about the signature itself, but
	// was found by the name of what was signed.
	name *nameSignature
}

// gather takes a signature apart. Where all is well but that it carries no log
// entry, the evidence is there beside the refusal.
func (v *signatureVerifier) gather(payload [sha256.Size]byte, armored []byte) (evidence, error) {
	sig, err := parseSignature(armored, payload)
	if err != nil {
		return evidence{}, err
	}
	if err := sig.checkKey(); err != nil {
		return evidence{}, err
	}
	ev := evidence{cmsSignature: sig}
	if sig.token != nil {
		t, err := readToken(sig.token, v.trusted)
		if err != nil {
			return evidence{}, err
		}
		ev.stamp = &t
	}
	ev.log, err = ev.logEntry()
	return ev, err
}

// prove decides about a signature. The order of the checks is that in which the
// first failure is the cause: the log's promise and proof, the times they and
// others state, the certificate at these times, and last who it names, since
// that counts only once the certificate counts.
func (a *anchors) prove(ev evidence) (proof, error) {
	log, err := a.logged(ev.log)
	if err != nil {
		return proof{}, err
	}
	times, relied, err := a.times(ev)
	if err != nil {
		return proof{}, err
	}
	if slices.ContainsFunc(times, func(t time.Time) bool { return !log.contains(t) }) {
		return proof{}, refuse(codeLogUnknown, "the log's key in the trusted root was not in force when this was signed")
	}
	names, err := a.certify(ev.cmsSignature, times)
	if err != nil {
		return proof{}, err
	}
	claimed, err := ev.identity()
	if err != nil {
		return proof{}, err
	}
	relied = append(append(relied, log.name), names...)
	slices.Sort(relied)
	return proof{
		certified: claimed, at: slices.MinFunc(times, time.Time.Compare), stamped: ev.stamp != nil,
		logIndex: ev.log.provenIndex(), relied: slices.Compact(relied), seen: ev.log.seen(),
	}, nil
}

// times are all that somebody other than the signer states, and that the
// certificate was valid at: one is enough, but a bad one beside a good one is
// refused, as bytes in a commit that nothing vouches for (row B13).
func (a *anchors) times(ev evidence) (times []time.Time, relied []string, err error) {
	if t := ev.log.entered(); !t.IsZero() {
		times = append(times, t)
	}
	if ev.stamp != nil {
		at, name, err := a.stamped(*ev.stamp, ev.signature)
		if err != nil {
			return nil, nil, err
		}
		times, relied = append(times, at), append(relied, name)
	}
	if len(times) == 0 {
		return nil, nil, refuse(codeUnproven, "no log and no authority states a time")
	}
	stated := times
	if unsigned := ev.log.GetIntegratedTime(); unsigned != 0 {
		stated = append(slices.Clip(times), time.Unix(unsigned, 0))
	}
	for _, t := range stated {
		if t.Before(ev.leaf.NotBefore) || t.After(ev.leaf.NotAfter) {
			return nil, nil, refuse(codeOutside, "signed at %s, but the certificate is valid from %s to %s",
				t.UTC().Format(time.RFC3339), ev.leaf.NotBefore.UTC().Format(time.RFC3339), ev.leaf.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	return times, relied, nil
}

// certify judges the certificate: issued for signing code by an authority of
// the trusted root, at each of the times, and recorded by a certificate log.
func (a *anchors) certify(sig cmsSignature, times []time.Time) (relied []string, err error) {
	issuerKey, relied, err := a.issued(sig.leaf, times)
	if err != nil {
		return nil, err
	}
	log, err := a.recorded(sig.leaf, issuerKey)
	if err != nil {
		return nil, err
	}
	if sig.leaf.IsCA { // path validation lets an authority sign as itself (row B25)
		return nil, refuse(codeUntrusted, "the certificate is that of an authority, not of a signer")
	}
	return append(relied, log), nil
}

// identity is whom the certificate names.
func (s cmsSignature) identity() (certified, error) {
	claimed, err := claimedIdentity(s.leaf)
	if err != nil {
		return certified{}, err
	}
	if len(s.leaf.URIs) > 0 && s.leaf.URIs[0].String() != claimed.subject {
		return certified{}, refuse(codeSubject, "the certificate's name reads differently in different forms")
	}
	return claimed, nil
}
