package main

import (
	"errors"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/spf13/cobra"

	"millwright.dev/millwright/reconciler/attest"
)

// signedBy are the flags that say whose signatures of records count.
type signedBy struct {
	trustedRoot          string
	subject, issuer, key string
	unsafeWithoutLog     bool
}

func (v *signedBy) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&v.trustedRoot, "trusted-root", "", trustedRootUsage)
	f.StringVar(&v.subject, "certificate-identity", "", "exact `subject` of the controller's identity")
	f.StringVar(&v.issuer, "certificate-oidc-issuer", "", "exact `issuer` of the controller's identity")
	f.StringVar(&v.key, "key", "", "PEM `file` with the public key that signed instead, or before there was an identity")
	f.BoolVar(&v.unsafeWithoutLog, "unsafe-without-log", false, "accept signatures by a key that are in no transparency log")
}

func (v *signedBy) valid() error {
	if v.trustedRoot == "" {
		return errors.New("name the --trusted-root")
	}
	if (v.subject == "") != (v.issuer == "") || v.key == "" && v.subject == "" {
		return errors.New("name who must have signed: --certificate-identity with --certificate-oidc-issuer, or --key")
	}
	return nil
}

// policies are those that the flags name.
func (v *signedBy) policies() ([]attest.Policy, error) {
	var out []attest.Policy
	if v.subject != "" {
		out = append(out, attest.Policy{Identity: attest.Identity{Issuer: v.issuer, Subject: v.subject}})
	}
	if v.key != "" {
		key, err := readPublicKey(v.key)
		if err != nil {
			return nil, err
		}
		out = append(out, attest.Policy{Key: key, UnsafeWithoutLog: v.unsafeWithoutLog})
	}
	return out, nil
}

// verifiedByOne verifies a proof as signed by one of several. Where none of them
// signed it, the first answer counts.
func verifiedByOne(p attest.Proof, trusted root.TrustedMaterial, policies []attest.Policy) (attest.Proved, error) {
	var first error
	for _, policy := range policies {
		shown, err := p.Verify(trusted, policy)
		if err == nil {
			return shown, nil
		}
		if first == nil {
			first = err
		}
	}
	return attest.Proved{}, first
}
