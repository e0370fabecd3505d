package gitverify

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"testing"
	"time"

	"github.com/github/smimesign/ietf-cms/oid"
	"github.com/github/smimesign/ietf-cms/protocol"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

var virtualNow = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// disagreements is all that we know of where our own proving and sigstore-go
// give different answers about the same parts of a signature, on purpose.
var disagreements = []struct {
	name, right, why string
	yes              bool // ours
	code             string
	build            func(t *testing.T) (*signatureVerifier, evidence)
}{
	{
		"a log's key that was not in force, with the time by a timestamp authority", "we",
		"the trusted root says until when the key counts; sigstore-go looks at that only where the log itself states the time", false, codeLogUnknown,
		func(t *testing.T) (*signatureVerifier, evidence) {
			s := newSketch(t, sigstoretest.SignOptions{Stamp: true, NoPromise: true})
			return s.verifier(func(root object) { ends(root.list("tlogs")[0].part("publicKey"), virtualNow.Add(-time.Hour)) }), s.evidence()
		},
	},
	{
		"a timestamp that carries another authority's certificate", "we",
		"nothing signs the certificates in a token, so each that may be added is another name for the same commit (rule T9)", false, codeTSA,
		func(t *testing.T) (*signatureVerifier, evidence) {
			s := newSketch(t, sigstoretest.SignOptions{Stamp: true})
			other, err := s.virtual.ForeignTrustedRootJSON()
			if err != nil {
				t.Fatal(err)
			}
			more := decodeObject(t, other).list("timestampAuthorities")[0]
			v := s.verifier(func(root object) {
				root["timestampAuthorities"] = append(root["timestampAuthorities"].([]any), map[string]any(more))
			})
			foreign := v.trusted.stampers[1].leaf
			if foreign.Equal(v.trusted.stampers[0].leaf) {
				foreign = v.trusted.stampers[0].leaf
			}
			return v, s.restamped(v, stampOptions{more: []*x509.Certificate{foreign}})
		},
	},
	{
		"a timestamp whose attributes are about other content", "we",
		"the content type is a signed attribute that must fit (RFC 5652 §11.1); the library does not look at it", false, codeTSA,
		func(t *testing.T) (*signatureVerifier, evidence) {
			s := newSketch(t, sigstoretest.SignOptions{Stamp: true})
			v := s.verifier(nil)
			return v, s.restamped(v, stampOptions{kind: oid.ContentTypeData})
		},
	},
	{
		"a timestamp with SHA-1", "we", "SHA-1 has collisions; the library accepts it", false, codeTSA,
		func(t *testing.T) (*signatureVerifier, evidence) {
			s := newSketch(t, sigstoretest.SignOptions{Stamp: true})
			v := s.verifier(nil)
			return v, s.restamped(v, stampOptions{sha1: true})
		},
	},
	{
		"a certificate with an unreadable extension about the build it was for", "both",
		"sigstore-go reads all of Fulcio's extensions; we read issuer and subject, and nothing here rests on another", true, "",
		func(t *testing.T) (*signatureVerifier, evidence) {
			s := newSketch(t, sigstoretest.SignOptions{EditCertificate: func(c *x509.Certificate) {
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 9}, Value: []byte{1}})
			}})
			return s.verifier(nil), s.evidence()
		},
	},
}

func TestWhereWeAndSigstoreDisagreeOnPurpose(t *testing.T) {
	t.Parallel()
	for _, d := range disagreements {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			v, ev := d.build(t)
			_, ours := v.trusted.prove(ev)
			_, theirs := v.referee.prove(ev)
			if (ours == nil) != d.yes || (theirs == nil) == d.yes {
				t.Fatalf("they agree, or the wrong one says yes: we say %v, sigstore-go %v", ours, theirs)
			}
			if codeOf(ours) != d.code {
				t.Errorf("got %v, want %s", ours, d.code)
			}
			if d.right == "" || d.why == "" {
				t.Error("nobody says who is right")
			}
		})
	}
}

func TestAnOldTimestampOutlivesItsAuthority(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		from, to time.Duration
		o        stampOptions
		yes      bool
	}{
		"of an authority that has expired since": {-time.Hour, time.Hour, stampOptions{untimed: true}, true},
		"and one that says when it signed":       {-time.Hour, time.Hour, stampOptions{at: virtualNow}, true},
		"stamped before its authority was":       {time.Hour, 2 * time.Hour, stampOptions{}, false},
		"stamped after its authority":            {-2 * time.Hour, -time.Hour, stampOptions{}, false},
		"signed when its authority had expired":  {-time.Hour, time.Hour, stampOptions{at: virtualNow.Add(2 * time.Hour)}, false},
		"signed before its authority was":        {-time.Hour, time.Hour, stampOptions{at: virtualNow.Add(-2 * time.Hour)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSketch(t, sigstoretest.SignOptions{Stamp: true})
			v := s.withStamper(virtualNow.Add(tt.from), virtualNow.Add(tt.to))
			s.wantBoth(v, s.restamped(v, tt.o), tt.yes, codeTSA)
		})
	}
}

// wantBoth fails unless we and sigstore-go answer as wanted.
func (s sketch) wantBoth(v *signatureVerifier, ev evidence, yes bool, code string) {
	s.t.Helper()
	p, ours := v.trusted.prove(ev)
	_, theirs := v.referee.prove(ev)
	if (ours == nil) != yes || (theirs == nil) != yes {
		s.t.Fatalf("want %t: we say %v, sigstore-go %v", yes, ours, theirs)
	}
	if !yes && codeOf(ours) != code {
		s.t.Errorf("got %v, want %s", ours, code)
	}
	if yes && !v.trusted.stands(p) {
		s.t.Errorf("relies on %v", p.relied)
	}
}

// sketch is one virtual signature, from which tests draw variants.
type sketch struct {
	t       *testing.T
	virtual *sigstoretest.Virtual
	payload []byte
	armored []byte
}

func newSketch(t *testing.T, o sigstoretest.SignOptions) sketch {
	t.Helper()
	virtual, err := sigstoretest.NewVirtual(virtualNow)
	if err != nil {
		t.Fatal(err)
	}
	s := sketch{t, virtual, []byte("content\n"), nil}
	if s.armored, err = virtual.Sign(s.payload, o); err != nil {
		t.Fatal(err)
	}
	return s
}

// verifier trusts the virtual Sigstore, with changes to its trusted root.
func (s sketch) verifier(change func(root object)) *signatureVerifier {
	s.t.Helper()
	data, err := s.virtual.TrustedRootJSON()
	if err != nil {
		s.t.Fatal(err)
	}
	root := decodeObject(s.t, data)
	if change != nil {
		change(root)
	}
	if data, err = json.Marshal(root); err != nil {
		s.t.Fatal(err)
	}
	trusted, err := ParseTrustedRoot(data)
	if err != nil {
		s.t.Fatal(err)
	}
	v, err := newSignatureVerifier(trusted)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

func (s sketch) evidence() evidence {
	s.t.Helper()
	ev, err := s.verifier(nil).gather(sha256.Sum256(s.payload), s.armored)
	if err != nil {
		s.t.Fatal(err)
	}
	return ev
}

// withStamper replaces the timestamp authority's certificates by others of the
// same key, with another validity.
func (s sketch) withStamper(from, to time.Time) *signatureVerifier {
	s.t.Helper()
	old, key := s.virtual.TSA()
	issue := func(template *x509.Certificate) []byte {
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(7), from, to
		der, err := x509.CreateCertificate(rand.Reader, template, &x509.Certificate{Subject: pkix.Name{CommonName: "stamps"}}, key.Public(), key)
		if err != nil {
			s.t.Fatal(err)
		}
		return der
	}
	root := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "stamps"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	leaf := issue(&x509.Certificate{Subject: pkix.Name{CommonName: "stamp"}, ExtraExtensions: old.Extensions[len(old.Extensions)-1:]})
	return s.verifier(func(file object) {
		file.list("timestampAuthorities")[0]["certChain"] = map[string]any{"certificates": []any{
			map[string]any{"rawBytes": base64.StdEncoding.EncodeToString(leaf)}, map[string]any{"rawBytes": base64.StdEncoding.EncodeToString(root)},
		}}
	})
}

// stampOptions say how the token is signed anew.
type stampOptions struct {
	kind    asn1.ObjectIdentifier // instead of a timestamp's
	sha1    bool
	untimed bool
	at      time.Time // of the signing time attribute
	more    []*x509.Certificate
}

// restamped signs the timestamp of the signature anew, in another way, with the
// authority's key and the first certificate that the verifier knows it by.
func (s sketch) restamped(v *signatureVerifier, o stampOptions) evidence {
	s.t.Helper()
	must := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	ev := s.evidence()
	_, key := s.virtual.TSA()
	var leaf *x509.Certificate
	for i := range v.trusted.stampers {
		if key.PublicKey.Equal(v.trusted.stampers[i].leaf.PublicKey) {
			leaf = v.trusted.stampers[i].leaf
		}
	}
	digest, hash, digestID, signatureID := sum256(ev.stamp.content), crypto.SHA256, oid.DigestAlgorithmSHA256, oid.SignatureAlgorithmECDSAWithSHA256
	if o.sha1 {
		sum := sha1.Sum(ev.stamp.content)
		digest, hash, digestID, signatureID = sum[:], crypto.SHA1, oid.DigestAlgorithmSHA1, oid.SignatureAlgorithmECDSAWithSHA1
	}
	if o.kind == nil {
		o.kind = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	}
	if o.at.IsZero() {
		o.at = leaf.NotBefore.Add(time.Minute)
	}
	var attrs protocol.Attributes
	add := func(id asn1.ObjectIdentifier, value any) {
		a, err := protocol.NewAttribute(id, value)
		must(err)
		attrs = append(attrs, a)
	}
	add(oid.AttributeContentType, o.kind)
	if !o.untimed {
		add(oid.AttributeSigningTime, o.at)
	}
	add(oid.AttributeMessageDigest, digest)
	signed, err := attrs.MarshaledForSigning()
	must(err)
	sid, err := protocol.NewIssuerAndSerialNumber(leaf)
	must(err)
	info := protocol.SignerInfo{
		Version: 1, SID: sid, SignedAttrs: attrs, DigestAlgorithm: pkix.AlgorithmIdentifier{Algorithm: digestID},
		SignatureAlgorithm: pkix.AlgorithmIdentifier{Algorithm: signatureID}, Signature: signedWith(s.t, key, hash, signed),
	}
	content, err := protocol.NewEncapsulatedContentInfo(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}, ev.stamp.content)
	must(err)
	data := &protocol.SignedData{Version: 3, DigestAlgorithms: []pkix.AlgorithmIdentifier{info.DigestAlgorithm}, EncapContentInfo: content, SignerInfos: []protocol.SignerInfo{info}}
	for _, c := range append([]*x509.Certificate{leaf}, o.more...) {
		must(data.AddCertificate(c))
	}
	ev.token, err = data.ContentInfoDER()
	must(err)
	stamp, err := readToken(ev.token, v.trusted)
	if ev.stamp = &stamp; o.sha1 {
		if codeOf(err) != codeTSA {
			s.t.Fatalf("got %v", err)
		}
		return ev
	}
	must(err)
	return ev
}

func sum256(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

func signedWith(t *testing.T, key *ecdsa.PrivateKey, hash crypto.Hash, message []byte) []byte {
	t.Helper()
	h := hash.New()
	h.Write(message)
	signature, err := key.Sign(rand.Reader, h.Sum(nil), hash)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// object is a JSON object of a trusted_root.json.
type object map[string]any

func decodeObject(t *testing.T, data []byte) object {
	t.Helper()
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o object) part(name string) object { return o[name].(map[string]any) }

func (o object) list(name string) (all []object) {
	for _, e := range o[name].([]any) {
		all = append(all, e.(map[string]any))
	}
	return all
}

// ends sets the end of a window of validity.
func ends(of object, at time.Time) { of.part("validFor")["end"] = at.UTC().Format(time.RFC3339) }
