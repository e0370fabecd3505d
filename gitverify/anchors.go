package gitverify

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// fingerprints names everything in a trusted root that a proof can rest on,
// sorted.
func fingerprints(material *root.TrustedRoot) []string {
	var all []string
	for _, authority := range material.FulcioCertificateAuthorities() {
		if a, ok := authority.(*root.FulcioCertificateAuthority); ok {
			all = append(all, fingerprint("ca", chainBytes(append(slices.Clip(a.Intermediates), a.Root)), a.ValidityPeriodStart, a.ValidityPeriodEnd))
		}
	}
	for _, authority := range material.TimestampingAuthorities() {
		if a, ok := authority.(*root.SigstoreTimestampingAuthority); ok {
			all = append(all, fingerprint("tsa", chainBytes(append(slices.Clip(a.Intermediates), a.Leaf, a.Root)), a.ValidityPeriodStart, a.ValidityPeriodEnd))
		}
	}
	for kind, logs := range map[string]map[string]*root.TransparencyLog{"ct": material.CTLogs(), "log": material.RekorLogs()} {
		for _, log := range logs {
			all = append(all, logFingerprint(kind, log))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// stands tells whether all that a proof rests on is in this trusted root. One
// that does not stand must be made again: a key went, or its window changed.
func (t TrustedRoot) stands(p proof) bool {
	for _, f := range p.relied {
		if _, found := slices.BinarySearch(t.names, f); !found {
			return false
		}
	}
	return len(p.relied) > 0
}

func logFingerprint(kind string, log *root.TransparencyLog) string {
	key, err := x509.MarshalPKIXPublicKey(log.PublicKey)
	if err != nil {
		key = nil // a key of a kind that nothing can be verified with
	}
	return fingerprint(kind, append(slices.Clip(log.ID), key...), log.ValidityPeriodStart, log.ValidityPeriodEnd)
}

// fingerprint names one authority or log by what makes it: its kind, its key
// or its certificates, and its window. Another window is another fingerprint.
func fingerprint(kind string, key []byte, from, to time.Time) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%s\x00%s\x00", kind, from.UTC().Format(time.RFC3339Nano), to.UTC().Format(time.RFC3339Nano))
	h.Write(key)
	return kind + ":" + hex.EncodeToString(h.Sum(nil))
}

func chainBytes(certs []*x509.Certificate) []byte {
	var b []byte
	for _, c := range certs {
		if c != nil {
			b = append(b, c.Raw...)
		}
	}
	return b
}
