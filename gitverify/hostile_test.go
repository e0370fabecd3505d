package gitverify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"runtime"
	"strings"
	"testing"

	"github.com/github/smimesign/ietf-cms/protocol"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// The cost that a stranger can cause with one signature (row B30).
const (
	maxHostileBytes   = 16 << 20
	maxHostileSeconds = 0.05
)

// hostile are signatures at the limits: as large as they may be, and made so
// that they get as far as they can before they are refused.
var hostile = map[string]struct {
	code  string
	build func(tb testing.TB, virtual *sigstoretest.Virtual) []byte
}{
	"a certificate with ten thousand names, logged": {codeUntrusted, func(tb testing.TB, virtual *sigstoretest.Virtual) []byte {
		return signWith(tb, virtual, sigstoretest.SignOptions{Stamp: true, Leaf: giant(tb, virtual, 38<<10, nil)})
	}},
	"eight certificates with thousands of names": {codeUntrusted, func(tb testing.TB, virtual *sigstoretest.Virtual) []byte {
		var more []*x509.Certificate
		for range maxCertificates - 1 {
			more = append(more, giant(tb, virtual, 4500, nil).Cert)
		}
		return signWith(tb, virtual, sigstoretest.SignOptions{Stamp: true, Leaf: giant(tb, virtual, 4500, nil), MoreCertificates: more})
	}},
	"eight certificates with RSA keys of 32768 bits": {codeUntrusted, func(tb testing.TB, virtual *sigstoretest.Virtual) []byte {
		n := new(big.Int).Lsh(big.NewInt(1), 32767)
		var more []*x509.Certificate
		for range maxCertificates - 1 {
			more = append(more, giant(tb, virtual, 8, &rsa.PublicKey{N: n.Add(n, big.NewInt(2)), E: 65537}).Cert)
		}
		return signWith(tb, virtual, sigstoretest.SignOptions{Leaf: giant(tb, virtual, 8, nil), MoreCertificates: more})
	}},
	"a promise, a root and a checkpoint of many lines": {codeCheckpoint, func(tb testing.TB, virtual *sigstoretest.Virtual) []byte {
		return signWith(tb, virtual, sigstoretest.SignOptions{EditEntry: func(e *rekorpb.TransparencyLogEntry) {
			e.InclusionProof.Checkpoint.Envelope = strings.Repeat("\n", 42<<10)
		}})
	}},
	"a proof of twenty thousand empty hashes": {codeProof, func(tb testing.TB, virtual *sigstoretest.Virtual) []byte {
		return signWith(tb, virtual, sigstoretest.SignOptions{EditEntry: func(e *rekorpb.TransparencyLogEntry) {
			e.InclusionProof.Hashes = make([][]byte, 21<<10)
		}})
	}},
	"a timestamp with ten thousand certificates": {codeTSA, func(tb testing.TB, virtual *sigstoretest.Virtual) []byte {
		return signWith(tb, virtual, sigstoretest.SignOptions{Stamp: true, EditSignedData: func(d *protocol.SignedData) {
			growToken(tb, d, bytes.Repeat([]byte{0x30, 0}, 20<<10))
		}})
	}},
	"ten thousand unsigned attributes": {codeEncoding, func(tb testing.TB, virtual *sigstoretest.Virtual) []byte {
		return signWith(tb, virtual, sigstoretest.SignOptions{EditSignedData: func(d *protocol.SignedData) {
			for range 4 << 10 {
				a, err := protocol.NewAttribute(asn1.ObjectIdentifier{1, 2, 3}, 1)
				if err != nil {
					tb.Fatal(err)
				}
				d.SignerInfos[0].UnsignedAttrs = append(d.SignerInfos[0].UnsignedAttrs, a)
			}
		}})
	}},
	"ten thousand signers": {codeAmbiguous, func(tb testing.TB, virtual *sigstoretest.Virtual) []byte {
		return nested(tb, bytes.Repeat([]byte{0x30, 0}, 20<<10))
	}},
	"ten thousand levels": {codeAmbiguous, func(tb testing.TB, virtual *sigstoretest.Virtual) []byte {
		deep := []byte{5, 0}
		for len(deep) < 40<<10 {
			deep = encodeDER(0x30, deep)
		}
		return nested(tb, deep, []byte{0x30, 0})
	}},
	"a name of forty kilobytes": {codeUntrusted, func(tb testing.TB, virtual *sigstoretest.Virtual) []byte {
		return signWith(tb, virtual, sigstoretest.SignOptions{Leaf: giant(tb, virtual, -38<<10, nil)})
	}},
	"nothing but line ends": {codeEncoding, func(testing.TB, *sigstoretest.Virtual) []byte {
		return []byte(pemBegin + strings.Repeat("\n", 60<<10) + pemEnd)
	}},
}

var hostilePayload = []byte("content\n")

func signWith(tb testing.TB, virtual *sigstoretest.Virtual, o sigstoretest.SignOptions) []byte {
	tb.Helper()
	armored, err := virtual.Sign(hostilePayload, o)
	if err != nil {
		tb.Fatal(err)
	}
	return armored
}

// giant is a certificate with size bytes of names, or one name of minus size,
// that looks as if the virtual authority had issued it.
func giant(tb testing.TB, virtual *sigstoretest.Virtual, size int, key any) *sigstoretest.Leaf {
	tb.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	if key == nil {
		key = &own.PublicKey
	}
	names := bytes.Repeat([]byte{0x86, 2, 'a', ':'}, max(size, 0)/4)
	if size < 0 {
		names = encodeDER(0x86, append([]byte("a:"), bytes.Repeat([]byte("%41"), -size/3)...))
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		tb.Fatal(err)
	}
	ca, _ := virtual.CA()
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: virtual.Now(), NotAfter: virtual.Now().AddDate(0, 0, 1),
		ExtKeyUsage:     []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{{Id: sanOID(), Value: encodeDER(0x30, names)}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key, own)
	if err != nil {
		// crypto/x509 does not sign with a key that is not the issuer's own.
		der, err = x509.CreateCertificate(rand.Reader, template, &x509.Certificate{RawSubject: ca.RawSubject}, key, own)
	}
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return &sigstoretest.Leaf{Cert: cert, Key: own}
}

// growToken puts certificates into the timestamp of a signature.
func growToken(tb testing.TB, d *protocol.SignedData, more []byte) {
	tb.Helper()
	attrs := d.SignerInfos[0].UnsignedAttrs
	for i, a := range attrs {
		if !a.Type.Equal(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 14}) {
			continue
		}
		value, err := a.Value()
		if err != nil {
			tb.Fatal(err)
		}
		var info protocol.ContentInfo
		if _, err := asn1.Unmarshal(value.Elements[0].FullBytes, &info); err != nil {
			tb.Fatal(err)
		}
		inner := readDER(info.Content.Bytes).enter(0x30)
		parts := []byte{}
		for !inner.rest.Empty() {
			if certificates := inner.wholeIf(explicit(0)); certificates != nil {
				parts = append(parts, encodeDER(0xa0, more)...)
				continue
			}
			parts = append(parts, inner.any()...)
		}
		token := encodeDER(0x30, []byte("\x06\x09"+oidSignedData), encodeDER(0xa0, encodeDER(0x30, parts)))
		if attrs[i], err = protocol.NewAttribute(a.Type, asn1.RawValue{FullBytes: token}); err != nil {
			tb.Fatal(err)
		}
		return
	}
	tb.Fatal("no timestamp")
}

// nested is signed data whose list of signers holds these bytes.
func nested(tb testing.TB, signers ...[]byte) []byte {
	tb.Helper()
	data := encodeDER(0x30, []byte{2, 1, 1}, encodeDER(0x31, []byte(algorithmSHA256)),
		encodeDER(0x30, []byte("\x06\x09"+oidData)), encodeDER(0x31, signers...))
	return armour(encodeDER(0x30, []byte("\x06\x09"+oidSignedData), encodeDER(0xa0, data)))
}

// TestNoSignatureCostsMuchMemory runs alone, since it counts what the process
// allocates. That it costs no time either, BenchmarkHostile shows.
func TestNoSignatureCostsMuchMemory(t *testing.T) { //nolint:paralleltest // it counts
	virtual, err := sigstoretest.NewVirtual(virtualNow)
	if err != nil {
		t.Fatal(err)
	}
	v := verifierOf(t, virtual)
	for name, h := range hostile { //nolint:paralleltest // it counts
		t.Run(name, func(t *testing.T) {
			armored := h.build(t, virtual)
			if len(armored) > maxSignature || len(armored) < maxSignature/2 {
				t.Fatalf("%d bytes are not at the limit", len(armored))
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := v.prove(t.Context(), hostilePayload, armored, nil)
			runtime.ReadMemStats(&after)
			if codeOf(err) != h.code {
				t.Errorf("want %s, got %v", h.code, err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > maxHostileBytes {
				t.Errorf("allocated %d bytes", used)
			}
		})
	}
}

func BenchmarkHostile(b *testing.B) {
	virtual, err := sigstoretest.NewVirtual(virtualNow)
	if err != nil {
		b.Fatal(err)
	}
	v := verifierOf(b, virtual)
	for name, h := range hostile {
		b.Run(name, func(b *testing.B) {
			armored := h.build(b, virtual)
			b.ReportAllocs()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			start := threadTime(b)
			for b.Loop() {
				if _, err := v.prove(b.Context(), hostilePayload, armored, nil); err == nil {
					b.Fatal("verified")
				}
			}
			cost := (threadTime(b) - start).Seconds() / float64(b.N)
			b.ReportMetric(cost*1e3, "cpu-ms/op")
			if cost > maxHostileSeconds {
				b.Errorf("%.1f ms", cost*1e3)
			}
		})
	}
}
