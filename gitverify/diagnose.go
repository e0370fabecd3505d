package gitverify

import (
	"encoding/hex"
	"errors"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	merkle "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// diagnose finds the stable code for a signature that sigstore-go has refused.
// sigstore-go has no typed errors for this, and its texts may change, so each
// check is made again on its own, in an order in which the first failure is
// the cause. It never makes a yes out of a no: what nothing here explains is
// refused as an invalid signature with sigstore-go's own words.
func (r *referee) diagnose(ev evidence, b *bundle.Bundle, cause error) error {
	stages := []func(evidence, *bundle.Bundle) error{r.explainLog, r.explainProof, r.explainTime, r.explainCertificate}
	for _, explain := range stages {
		if err := explain(ev, b); err != nil {
			return err
		}
	}
	if _, err := claimedIdentity(ev.leaf); err != nil {
		return err
	}
	if _, ok := errors.AsType[*verify.ErrNoMatchingCertificateIdentity](cause); ok {
		return refuse(codeSubject, "the certificate's name reads differently in different forms")
	}
	return refuse(codeSigInvalid, "%v", cause)
}

// explainLog looks at which log it is, and at its promise: the log's signature
// over this entry, its time and its place.
func (r *referee) explainLog(ev evidence, _ *bundle.Bundle) error {
	id := hex.EncodeToString(ev.log.GetLogId().GetKeyId())
	log, ok := r.material.RekorLogs()[id]
	if !ok {
		return refuse(codeLogUnknown, "the entry is of log %s, which is not in the trusted root", id)
	}
	if len(ev.log.GetInclusionPromise().GetSignedEntryTimestamp()) == 0 {
		return nil
	}
	entry, err := tlog.ParseTransparencyLogEntry(ev.log.TransparencyLogEntry)
	if err != nil {
		return refuse(codeEntry, "the log entry cannot be read: %v", err)
	}
	if err := tlog.VerifySET(entry, map[string]*root.TransparencyLog{id: log}); err != nil {
		return refuse(codeEntryMismatch, "the log did not promise to include this signature: %v", err)
	}
	return nil
}

func (r *referee) explainProof(ev evidence, _ *bundle.Bundle) error {
	p := ev.log.GetInclusionProof()
	leaf := rfc6962.DefaultHasher.HashLeaf(ev.log.GetCanonicalizedBody())
	index, size := p.GetLogIndex(), p.GetTreeSize()
	if index < 0 || size < 1 {
		return refuse(codeProof, "the inclusion proof is for no place in a log")
	}
	err := merkle.VerifyInclusion(rfc6962.DefaultHasher, uint64(index), uint64(size), leaf, p.GetHashes(), p.GetRootHash())
	if err != nil {
		code := codeProof
		if len(ev.log.GetInclusionPromise().GetSignedEntryTimestamp()) == 0 {
			code = codeEntryMismatch // nothing else ties the entry to this signature
		}
		return refuse(code, "the inclusion proof does not hold for this signature")
	}
	log := r.material.RekorLogs()[hex.EncodeToString(ev.log.GetLogId().GetKeyId())]
	entry, err := tlog.ParseTransparencyLogEntry(ev.log.TransparencyLogEntry)
	if err != nil {
		return refuse(codeEntry, "the log entry cannot be read: %v", err)
	}
	key, err := signature.LoadVerifier(log.PublicKey, log.SignatureHashFunc)
	if err != nil {
		return refuse(codeCheckpoint, "the log's key cannot be used: %v", err)
	}
	if err := tlog.VerifyInclusion(entry, key); err != nil {
		return refuse(codeCheckpoint, "the log did not sign the checkpoint: %v", err)
	}
	return nil
}

// explainTime looks for a proven time, and at whether the certificate was valid
// then. It comes after the log's promise, so an integrated time that is covered
// by one is proven here. One that is not is held against the certificate too:
// sigstore-go does so, and so do we.
func (r *referee) explainTime(ev evidence, b *bundle.Bundle) error {
	times, err := r.provenTimes(ev, b)
	if err != nil {
		return err
	}
	if len(times) == 0 {
		return refuse(codeUnproven, "no log and no authority states a time")
	}
	if stated := ev.log.GetIntegratedTime(); stated != 0 {
		times = append(times, time.Unix(stated, 0))
	}
	for _, t := range times {
		if t.Before(ev.leaf.NotBefore) || t.After(ev.leaf.NotAfter) {
			return refuse(codeOutside, "signed at %s, but the certificate is valid from %s to %s",
				t.UTC().Format(time.RFC3339), ev.leaf.NotBefore.UTC().Format(time.RFC3339), ev.leaf.NotAfter.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

func (r *referee) provenTimes(ev evidence, b *bundle.Bundle) ([]time.Time, error) {
	var times []time.Time
	if len(ev.log.GetInclusionPromise().GetSignedEntryTimestamp()) != 0 && ev.log.GetIntegratedTime() != 0 {
		times = append(times, time.Unix(ev.log.GetIntegratedTime(), 0))
	}
	stamps, _, err := verify.VerifySignedTimestamp(b, r.material)
	if err != nil || (len(stamps) == 1) != (ev.stamp != nil) {
		return nil, refuse(codeTSA, "the timestamp beside the signature does not verify")
	}
	for _, s := range stamps {
		times = append(times, s.Time)
	}
	return times, nil
}

func (r *referee) explainCertificate(ev evidence, b *bundle.Bundle) error {
	times, err := r.provenTimes(ev, b)
	if err != nil {
		return err
	}
	for _, t := range times {
		chains, err := verify.VerifyLeafCertificate(t, ev.leaf, r.material)
		if err != nil {
			return refuse(codeUntrusted, "no authority of the trusted root issued the certificate for signing code")
		}
		if err := verify.VerifySignedCertificateTimestamp(chains, 1, r.material); err != nil {
			return refuse(codeSCT, "no certificate log of the trusted root recorded the certificate")
		}
	}
	return nil
}
