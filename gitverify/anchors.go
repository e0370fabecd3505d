package gitverify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// anchors is a trusted root made ready for proving: what does not depend on a
// signature is computed once. A part of a trusted root that proving does not
// know how to use (a log with an Ed25519 key, an authority with name
// constraints) is kept as beyond it, and signatures that need that part are
// left to sigstore-go.
type anchors struct {
	authorities []authority
	certificateLogs,
	logs map[string]*logKey // by the log's id
	stampers []stamper
	// strayStampers says that there are timestamp authorities whose own
	// certificate the trusted root does not name.
	strayStampers bool
	// stamping are all certificates of timestamp authorities.
	stamping []*x509.Certificate
	// names are the fingerprints of all that is in the trusted root, sorted.
	names []string
}

// window is a time from and until which something counts, both included. A
// zero end is open.
type window struct{ from, to time.Time }

func (w window) contains(t time.Time) bool {
	return (w.from.IsZero() || !t.Before(w.from)) && (w.to.IsZero() || !t.After(w.to))
}

func containsTime(windows []window, t time.Time) bool {
	return slices.ContainsFunc(windows, func(w window) bool { return w.contains(t) })
}

// logKey is a log of the trusted root, of signatures or of certificates.
type logKey struct {
	window
	name string
	// key is nil where it is beyond: only ECDSA is used by logs that write
	// what gitsign reads, with P-256 by those of signatures.
	key *ecdsa.PublicKey
	// hint begins the signature of a checkpoint: the digest of the key, in the
	// form that Rekor v1 writes.
	hint [4]byte
}

func newAnchors(material *root.TrustedRoot) *anchors {
	a := &anchors{certificateLogs: map[string]*logKey{}, logs: map[string]*logKey{}}
	for _, c := range material.FulcioCertificateAuthorities() {
		if fulcio, ok := c.(*root.FulcioCertificateAuthority); ok {
			a.authorities = append(a.authorities, newAuthority(fulcio))
			a.names = append(a.names, a.authorities[len(a.authorities)-1].name)
		}
	}
	for _, c := range material.TimestampingAuthorities() {
		tsa, ok := c.(*root.SigstoreTimestampingAuthority)
		if !ok {
			continue
		}
		a.names = append(a.names, stamperName(tsa))
		for _, c := range append(slices.Clip(tsa.Intermediates), tsa.Leaf, tsa.Root) {
			if c != nil {
				a.stamping = append(a.stamping, c)
			}
		}
		if tsa.Leaf == nil || tsa.Root == nil {
			a.strayStampers = true
			continue
		}
		a.stampers = append(a.stampers, newStamper(tsa))
	}
	for id, log := range material.CTLogs() {
		k := newLogKey("ct", log)
		a.certificateLogs[rawID(id)], a.names = k, append(a.names, k.name)
	}
	for id, log := range material.RekorLogs() {
		k := newLogKey("log", log)
		if k.key != nil && k.key.Curve != elliptic.P256() {
			k.key = nil
		}
		a.logs[rawID(id)], a.names = k, append(a.names, k.name)
	}
	slices.Sort(a.names)
	a.names = slices.Compact(a.names)
	return a
}

func rawID(id string) string {
	raw, err := hex.DecodeString(id)
	if err != nil {
		return "" // sigstore-go encoded it
	}
	return string(raw)
}

func newLogKey(kind string, log *root.TransparencyLog) *logKey {
	der, err := x509.MarshalPKIXPublicKey(log.PublicKey)
	if err != nil {
		der = nil // a key of a kind that nothing can be verified with
	}
	k := &logKey{window: window{log.ValidityPeriodStart, log.ValidityPeriodEnd}}
	k.name = fingerprint(kind, k.window, log.ID, der)
	k.key, _ = log.PublicKey.(*ecdsa.PublicKey)
	sum := sha256.Sum256(der)
	k.hint = [4]byte(sum[:4])
	return k
}

// fingerprint names one authority or log by what makes it: its kind, its key
// or its certificates, and its window. Another window is another fingerprint.
func fingerprint(kind string, w window, parts ...[]byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%s\x00%s\x00", kind, w.from.UTC().Format(time.RFC3339Nano), w.to.UTC().Format(time.RFC3339Nano))
	for _, p := range parts {
		fmt.Fprintf(h, "%d\x00", len(p))
		h.Write(p)
	}
	return kind + ":" + hex.EncodeToString(h.Sum(nil))
}

func rawOf(certs []*x509.Certificate) [][]byte {
	var raws [][]byte
	for _, c := range certs {
		if c != nil {
			raws = append(raws, c.Raw)
		}
	}
	return raws
}

// stands tells whether all that a proof rests on is in this trusted root. One
// that does not stand must be made again: a key went, or its window changed.
func (a *anchors) stands(p proof) bool {
	for _, f := range p.relied {
		if _, found := slices.BinarySearch(a.names, f); !found {
			return false
		}
	}
	return len(p.relied) > 0
}
