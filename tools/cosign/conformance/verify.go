package main

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	"github.com/sigstore/sigstore/pkg/tuf"
)

// verifier tells what of an attestation is worth something: signed by an identity
// that the factory's authority certified, recorded by its logs, about the image. It
// asks nobody.
type verifier struct {
	roots   *x509.CertPool
	ct, log *cosign.TrustedTransparencyLogPubKeys
}

// loadVerifier reads fulcio.crt, ct.pub and rekor.pub from a folder.
func loadVerifier(dir string) (*verifier, error) {
	certs, err := os.ReadFile(filepath.Join(dir, "fulcio.crt"))
	if err != nil {
		return nil, err
	}
	v := &verifier{roots: x509.NewCertPool()}
	if !v.roots.AppendCertsFromPEM(certs) {
		return nil, fmt.Errorf("%s has no certificate", filepath.Join(dir, "fulcio.crt"))
	}
	if v.ct, err = logKey(filepath.Join(dir, "ct.pub")); err != nil {
		return nil, err
	}
	v.log, err = logKey(filepath.Join(dir, "rekor.pub"))
	return v, err
}

func logKey(file string) (*cosign.TrustedTransparencyLogPubKeys, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	keys := cosign.NewTrustedTransparencyLogPubKeys()
	if err := keys.AddTransparencyLogPubKey(data, tuf.Active); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &keys, nil
}

// answer sorts attestations by who signed them.
func (v *verifier) answer(ctx context.Context, i image, all []attestation, want expected) answer {
	a := answer{there: len(all)}
	for _, one := range all {
		byChains, err := v.statement(ctx, i, one, want.issuer, want.chains)
		if err == nil {
			a.chains = append(a.chains, byChains)
			continue
		}
		byPublish, other := v.statement(ctx, i, one, want.issuer, want.publish)
		if other == nil {
			a.publish = append(a.publish, byPublish)
			continue
		}
		a.refusals = append(a.refusals, fmt.Sprintf("%.200s", err))
	}
	return a
}

// statement verifies one attestation as by that identity.
func (v *verifier) statement(ctx context.Context, i image, a attestation, issuer, subject string) (s statement, err error) {
	// cosign's library takes what is not verified yet to be well-formed in places, and
	// panics. Attestations are verified one by one, here, and not by its loop, which
	// does it in goroutines of its own where no one could stop that.
	defer func() {
		if p := recover(); p != nil {
			s, err = statement{}, fmt.Errorf("malformed: %.100v", p)
		}
	}()
	packed, err := entry(a.annotations[static.BundleAnnotationKey])
	if err != nil {
		return statement{}, err
	}
	sig, err := static.NewAttestation(a.envelope,
		static.WithCertChain([]byte(a.annotations[static.CertificateAnnotationKey]), []byte(a.annotations[static.ChainAnnotationKey])),
		static.WithBundle(packed))
	if err != nil {
		return statement{}, err
	}
	ok, err := cosign.VerifyBlobAttestation(ctx, sig, v1.Hash{Algorithm: "sha256", Hex: i.hex}, &cosign.CheckOpts{
		RootCerts: v.roots, CTLogPubKeys: v.ct, RekorPubKeys: v.log, Offline: true,
		ClaimVerifier: cosign.IntotoSubjectClaimVerifier,
		Identities:    []cosign.Identity{{Issuer: issuer, Subject: subject}},
	})
	if err != nil {
		return statement{}, err
	}
	if !ok {
		return statement{}, errors.New("no log promises to have the signature")
	}
	return open(a.envelope)
}

// entry is the log's promise that comes with an attestation.
func entry(annotation string) (*bundle.RekorBundle, error) {
	if annotation == "" {
		return nil, errors.New("no entry of a log comes with it")
	}
	var packed bundle.RekorBundle
	if err := json.Unmarshal([]byte(annotation), &packed); err != nil {
		return nil, errors.New("the entry of the log cannot be read")
	}
	return &packed, nil
}

// open takes the statement out of an envelope that is verified.
func open(envelope []byte) (statement, error) {
	var e struct {
		Payload string `json:"payload"`
	}
	var s statement
	if err := json.Unmarshal(envelope, &e); err != nil {
		return s, err
	}
	payload, err := base64.StdEncoding.DecodeString(e.Payload)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(payload, &s)
}
