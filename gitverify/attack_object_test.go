package gitverify_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/github/smimesign/ietf-cms/oid"
	"github.com/github/smimesign/ietf-cms/protocol"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/proto"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

var honest = sigstoretest.SignOptions{}

// replaceOnce changes a commit's bytes and insists that there was something to
// change.
func (s scene) replaceOnce(body []byte, from, to string) []byte {
	s.t.Helper()
	if bytes.Count(body, []byte(from)) < 1 {
		s.t.Fatalf("%q is not in the commit", from)
	}
	return bytes.Replace(body, []byte(from), []byte(to), 1)
}

// signature cuts the gpgsig header, with its line end, out of a signed commit.
func (s scene) signature(signed []byte) string {
	s.t.Helper()
	_, rest, ok := strings.Cut(string(signed), "\ngpgsig ")
	rest, _, ok2 := strings.Cut(rest, "-----END SIGNED MESSAGE-----\n")
	if !ok || !ok2 {
		s.t.Fatal("the commit is not signed")
	}
	return "gpgsig " + rest + "-----END SIGNED MESSAGE-----\n"
}

// resigned makes the signature's DER another, and armours it again.
func (s scene) resigned(signed []byte, change func(der []byte) []byte) []byte {
	s.t.Helper()
	header := s.signature(signed)
	block, _ := pem.Decode([]byte(strings.ReplaceAll(strings.TrimPrefix(header, "gpgsig "), "\n ", "\n")))
	if block == nil {
		s.t.Fatal("the signature is not PEM")
	}
	block.Bytes = change(block.Bytes)
	armored := strings.TrimRight(string(pem.EncodeToMemory(block)), "\n")
	return s.replaceOnce(signed, header, "gpgsig "+strings.ReplaceAll(armored, "\n", "\n ")+"\n")
}

// edit is an attack that changes the bytes of an honestly signed commit.
func edit(row, name, code string, change func(s scene, signed []byte) []byte) attack {
	return attack{row, name, code, func(s scene) outcome {
		signed := s.sign(s.body(), honest)
		return alone(s.put("commit", change(s, signed)), s.put("commit", signed))
	}}
}

// signing is an attack that signs a commit wrongly.
func signing(row, name, code string, o sigstoretest.SignOptions) attack {
	return attack{row, name, code, func(s scene) outcome {
		return alone(s.signed(o), s.signed(honest))
	}}
}

// malformed is an attack that signs bytes which git would not write.
func malformed(row, name, code, from, to string) attack {
	return attack{row, name, code, func(s scene) outcome {
		return alone(s.put("commit", s.sign(s.replaceOnce(s.body(), from, to), honest)), s.signed(honest))
	}}
}

func TestAttacksOnTheCommitObject(t *testing.T) {
	t.Parallel()
	const person = "X <x@example.test> 1700000000 +0000"
	runAttacks(t, []attack{
		edit("A01", "unsigned commit at the tip", "sig/missing", func(s scene, _ []byte) []byte { return s.body() }),
		{"A02", "unsigned commit below a signed tip", "sig/missing", func(s scene) outcome {
			inner := s.put("commit", s.body())
			signedInner := s.signed(honest)
			return outcome{s.commit("tip", files(), inner), inner, s.commit("tip", files(), signedInner)}
		}},
		edit("A03", "body edited after signing", "sig/digest", func(s scene, signed []byte) []byte {
			return s.replaceOnce(signed, "\n\nchange", "\n\nchanged")
		}),
		edit("A04", "signature of another commit of the same author", "sig/digest", func(s scene, signed []byte) []byte {
			other := s.sign(unsigned(s.tree(files()), "other", s.anchor), honest)
			return s.replaceOnce(signed, s.signature(signed), s.signature(other))
		}),
		edit("A05", "second tree, signature over the first only", "obj/duplicate-header", func(s scene, signed []byte) []byte {
			return s.replaceOnce(signed, "\nparent ", "\ntree "+string(s.tree(files("evil", "1")))+"\nparent ")
		}),
		edit("A05", "second tree before the first", "obj/duplicate-header", func(s scene, signed []byte) []byte {
			return append([]byte("tree "+string(s.tree(files("evil", "1")))+"\n"), signed...)
		}),
		malformed("A05", "second tree, signature over both", "obj/duplicate-header", "\nparent ", "\ntree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nparent "),
		malformed("A05", "second tree at the end of the headers", "obj/duplicate-header", "\n\nchange", "\ntree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\nchange"),
		malformed("A06", "two authors", "obj/malformed", "\nauthor ", "\nauthor "+person+"\nauthor "),
		malformed("A06", "two committers", "obj/malformed", "\ncommitter ", "\ncommitter "+person+"\ncommitter "),
		malformed("A06", "parent after the author", "obj/malformed", "\ncommitter ", "\nparent 4b825dc642cb6eb9a060e54bf8d69288fbee4904\ncommitter "),
		malformed("A06", "tree that is not the first header", "obj/malformed", "tree ", "author "+person+"\ntree "),
		malformed("A06", "author without a date", "obj/malformed", "1700000000 +0000", ""),
		edit("A07", "bad signature before the good one", "obj/duplicate-header", func(s scene, signed []byte) []byte {
			return s.replaceOnce(signed, "gpgsig ", s.signature(s.sign(unsigned(s.tree(files()), "other"), honest))+"gpgsig ")
		}),
		edit("A07", "bad signature after the good one", "obj/duplicate-header", func(s scene, signed []byte) []byte {
			return s.replaceOnce(signed, "\n\nchange", "\n"+s.signature(s.sign(unsigned(s.tree(files()), "other"), honest))+"\nchange")
		}),
		edit("A08", "good signature and a gpgsig-sha256", "sig/ambiguous", func(s scene, signed []byte) []byte {
			return s.replaceOnce(signed, "\n\nchange", "\ngpgsig-sha256 nothing\n\nchange")
		}),
		edit("A08", "good signature in gpgsig-sha256, bad one in gpgsig", "sig/ambiguous", func(s scene, signed []byte) []byte {
			return s.replaceOnce(signed, "gpgsig ", "gpgsig-sha256 ")
		}),
		malformed("A20", "NUL in a header", "obj/malformed", "A U Thor", "A U\x00Thor"),
		malformed("A20", "NUL in the message", "obj/malformed", "\nchange", "\nchange\x00"),
		malformed("A20", "carriage return in a header", "obj/malformed", "+0000\ncommitter", "+0000\r\ncommitter"),
		edit("A20", "no empty line after the headers", "obj/malformed", func(s scene, signed []byte) []byte {
			return s.replaceOnce(signed, "\n\nchange", "\nchange")
		}),
		{"A22", "signed mergetag in an unsigned merge", "sig/missing", func(s scene) outcome {
			side := s.signed(honest)
			merge := s.withMergetag(unsigned(s.tree(files("a", "1")), "merge", s.anchor, side), side)
			return alone(s.put("commit", merge), s.put("commit", s.sign(merge, honest)))
		}},
		edit("A25", "commit of 2 MiB", "limits/commit-size", func(_ scene, signed []byte) []byte {
			return append(signed, bytes.Repeat([]byte("x\n"), 1<<20)...)
		}),
		{"A25", "129 parents", "limits/commit-size", func(s scene) outcome {
			parents := []gitverify.ID{s.anchor}
			for i := range 128 {
				parents = append(parents, s.commit(fmt.Sprint(i), files(), s.anchor))
			}
			return alone(s.commit("octopus", files(), parents...), s.commit("octopus", files(), parents[:128]...))
		}},
		malformed("A26", "unknown header", "obj/unknown-header", "\n\nchange", "\nHG:extra topic\n\nchange"),
		malformed("A26", "header that looks like a signature", "obj/unknown-header", "\n\nchange", "\ngpgsig-foo nothing\n\nchange"),
		edit("A26", "header after the signature", "obj/malformed", func(s scene, signed []byte) []byte {
			return s.replaceOnce(signed, "\n\nchange", "\nencoding UTF-8\n\nchange")
		}),
		malformed("A26", "continuation line on a header that has none", "obj/malformed", "\n\nchange", "\n more\n\nchange"),
		{"A29", "object that holds other bytes than its name says", "obj/hash", func(s scene) outcome {
			good := s.signed(honest)
			bad := s.commit("other", files(), s.anchor)
			s.objects[bad] = s.objects[good]
			return alone(bad, good)
		}},
	})
}

// withMergetag adds a signed tag of a commit to a merge, as git does.
func (s scene) withMergetag(merge []byte, side gitverify.ID) []byte {
	s.t.Helper()
	tag, err := s.virtual.SignTag([]byte("object "+string(side)+"\ntype commit\ntag v1\ntagger T <t@example.test> 1700000000 +0000\n\nv1\n"), honest)
	if err != nil {
		s.t.Fatal(err)
	}
	header := "mergetag " + strings.ReplaceAll(strings.TrimRight(string(tag), "\n"), "\n", "\n ")
	return s.replaceOnce(merge, "\n\n", "\n"+header+"\n\n")
}

func TestAttacksOnTheEncodingOfTheSignature(t *testing.T) {
	t.Parallel()
	runAttacks(t, []attack{
		edit("A10", "bytes after the PEM block", "sig/encoding", func(s scene, signed []byte) []byte {
			return s.replaceOnce(signed, "-----END SIGNED MESSAGE-----\n", "-----END SIGNED MESSAGE-----\n junk\n")
		}),
		edit("A10", "bytes before the PEM block", "sig/encoding", func(s scene, signed []byte) []byte {
			return s.replaceOnce(signed, "gpgsig ", "gpgsig junk\n ")
		}),
		edit("A10", "two spaces before a line", "sig/encoding", func(s scene, signed []byte) []byte {
			return s.replaceOnce(signed, "\n -----END", "\n  -----END")
		}),
		edit("A10", "bytes after the DER value", "sig/encoding", func(s scene, signed []byte) []byte {
			return s.resigned(signed, func(der []byte) []byte { return append(der, 5, 0) })
		}),
		edit("A10", "indefinite length", "sig/encoding", func(s scene, signed []byte) []byte {
			return s.resigned(signed, func(der []byte) []byte {
				return append(append([]byte{0x30, 0x80}, der[4:]...), 0, 0)
			})
		}),
		edit("A10", "length in more bytes than it needs", "sig/encoding", func(s scene, signed []byte) []byte {
			return s.resigned(signed, func(der []byte) []byte {
				return append([]byte{0x30, 0x83, 0, der[2], der[3]}, der[4:]...)
			})
		}),
		signing("A11", "PGP where X.509 is wanted", "sig/type", sigstoretest.SignOptions{PEMType: "PGP SIGNATURE"}),
		signing("A11", "SSH where X.509 is wanted", "sig/type", sigstoretest.SignOptions{PEMType: "SSH SIGNATURE"}),
		signing("A12", "no certificate", "sig/no-cert", sigstoretest.SignOptions{NoCertificate: true}),
		{"A14", "certificate of bob before the signer's own", "id/subject", func(s scene) outcome {
			decoy, err := s.virtual.Leaf(sigstoretest.SignOptions{Subject: bob})
			if err != nil {
				s.t.Fatal(err)
			}
			more := []*x509.Certificate{decoy.Cert}
			return alone(s.signed(sigstoretest.SignOptions{Subject: "mallory@factory.test", MoreCertificates: more}),
				s.signed(sigstoretest.SignOptions{MoreCertificates: more}))
		}},
		signing("A15", "no signed attributes", "sig/attributes", sigstoretest.SignOptions{
			EditSignedData: func(d *protocol.SignedData) { d.SignerInfos[0].SignedAttrs = nil },
		}),
		signing("A15", "signed attribute missing", "sig/attributes", sigstoretest.SignOptions{
			EditSignedAttrs: func(a protocol.Attributes) protocol.Attributes { return a[:2] },
		}),
		signing("A15", "signed attribute that gitsign does not write", "sig/attributes", sigstoretest.SignOptions{
			EditSignedAttrs: func(a protocol.Attributes) protocol.Attributes {
				more, err := protocol.NewAttribute(asn1.ObjectIdentifier{1, 2, 3}, "hello")
				if err != nil {
					panic(err)
				}
				return append(a, more)
			},
		}),
		signing("A15", "digest there twice", "sig/attributes", sigstoretest.SignOptions{
			EditSignedAttrs: func(a protocol.Attributes) protocol.Attributes { return append(a[:2:2], a[1]) },
		}),
		signing("A17", "content of its own", "sig/not-detached", sigstoretest.SignOptions{Attached: true}),
		signing("A18", "key on another curve", "sig/algorithm", sigstoretest.SignOptions{Curve: elliptic.P384()}),
		signing("A18", "key on no such curve", "sig/algorithm", sigstoretest.SignOptions{Certified: ed25519.PublicKey(make([]byte, ed25519.PublicKeySize))}),
		signing("A18", "SHA-1 as digest", "sig/algorithm", sigstoretest.SignOptions{
			EditSignedData: func(d *protocol.SignedData) { d.SignerInfos[0].DigestAlgorithm.Algorithm = []int{1, 3, 14, 3, 2, 26} },
		}),
		signing("A18", "two signers", "sig/ambiguous", sigstoretest.SignOptions{
			EditSignedData: func(d *protocol.SignedData) { d.SignerInfos = append(d.SignerInfos, d.SignerInfos[0]) },
		}),
		signing("A18", "signature by another key", "sig/invalid", sigstoretest.SignOptions{
			EditSignedData: func(d *protocol.SignedData) { d.SignerInfos[0].Signature[20] ^= 1 },
		}),
		signing("B30", "a hundred kilobytes of certificates", "limits/signature", sigstoretest.SignOptions{
			EditSignedData: func(d *protocol.SignedData) {
				for range 200 {
					d.Certificates = append(d.Certificates, d.Certificates[0])
				}
			},
		}),
		signing("B30", "nine certificates", "limits/signature", sigstoretest.SignOptions{
			EditSignedData: func(d *protocol.SignedData) {
				for range 8 {
					d.Certificates = append(d.Certificates, d.Certificates[0])
				}
			},
		}),
		signing("A10", "the signer's certificate twice", "sig/ambiguous", sigstoretest.SignOptions{
			EditSignedData: func(d *protocol.SignedData) { d.Certificates = append(d.Certificates, d.Certificates[0]) },
		}),
	})
}

// grown makes a DER sequence longer: what Go's decoder takes for fields of a
// later version, and does not look at.
func grown(der []byte, levels int) []byte {
	var outer asn1.RawValue
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		panic(err)
	}
	if levels == 0 {
		outer.Bytes = append(outer.Bytes, asn1.NullBytes...)
	} else {
		rest := outer.Bytes
		var last asn1.RawValue
		var before []byte
		for len(rest) > 0 {
			before = append(before, last.FullBytes...)
			var err error
			if rest, err = asn1.Unmarshal(rest, &last); err != nil {
				panic(err)
			}
		}
		outer.Bytes = append(before, grown(last.FullBytes, levels-1)...)
	}
	outer.FullBytes = nil
	out, err := asn1.Marshal(outer)
	if err != nil {
		panic(err)
	}
	return out
}

func TestAttacksOnTheShapeOfTheSignature(t *testing.T) {
	t.Parallel()
	data := func(row, name, code string, change func(*protocol.SignedData)) attack {
		// Stamped, so that nothing is refused for want of a proven time.
		return signing(row, name, code, sigstoretest.SignOptions{EditSignedData: change, Stamp: true})
	}
	der := func(name, code string, change func([]byte) []byte) attack {
		return edit("A10", name, code, func(s scene, signed []byte) []byte { return s.resigned(signed, change) })
	}
	runAttacks(t, []attack{
		der("junk at the end of the content info", "sig/encoding", func(b []byte) []byte { return grown(b, 0) }),
		der("junk at the end of the signed data", "sig/encoding", func(b []byte) []byte { return grown(b, 2) }),
		der("junk at the end of the signer", "sig/encoding", func(b []byte) []byte { return grown(b, 4) }),
		der("another content type", "sig/type", func(b []byte) []byte {
			b[bytes.IndexByte(b, 6)+10] = 3 // enveloped data
			return b
		}),
		der("content that is no signed data", "sig/encoding", func(b []byte) []byte {
			b[bytes.IndexByte(b, 0xa0)+4] = 0x31
			return b
		}),
		data("A10", "version of another content", "sig/encoding", func(d *protocol.SignedData) { d.Version = 3 }),
		data("A10", "signer of another version", "sig/encoding", func(d *protocol.SignedData) { d.SignerInfos[0].Version = 3 }),
		data("A10", "revocation lists", "sig/encoding", func(d *protocol.SignedData) { d.CRLs = d.Certificates }),
		data("A12", "certificate of somebody else only", "sig/no-cert", func(d *protocol.SignedData) {
			d.SignerInfos[0].SID.FullBytes[len(d.SignerInfos[0].SID.FullBytes)-1] ^= 1
		}),
		data("A12", "signer named by a key", "sig/no-cert", func(d *protocol.SignedData) {
			d.SignerInfos[0].SID = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, Bytes: []byte("key")}
		}),
		data("A12", "certificate that is none", "sig/encoding", func(d *protocol.SignedData) {
			d.Certificates = append(d.Certificates, asn1.RawValue{FullBytes: []byte{0x30, 0}})
		}),
		data("A15", "attributes out of order", "sig/encoding", func(d *protocol.SignedData) { slices.Reverse(d.SignerInfos[0].SignedAttrs) }),
		data("A15", "content of another type in the attributes", "sig/attributes", func(d *protocol.SignedData) {
			a, err := protocol.NewAttribute(oid.AttributeContentType, oid.ContentTypeSignedData)
			if err != nil {
				panic(err)
			}
			d.SignerInfos[0].SignedAttrs[0] = a
		}),
		data("B30", "signature of a hundred kilobytes", "limits/signature", func(d *protocol.SignedData) {
			d.SignerInfos[0].Signature = make([]byte, 100<<10)
		}),
		data("T9", "unsigned attribute that is evidence of nothing", "sig/encoding", func(d *protocol.SignedData) {
			a, err := protocol.NewAttribute(asn1.ObjectIdentifier{1, 2, 3}, "hello")
			if err != nil {
				panic(err)
			}
			d.SignerInfos[0].UnsignedAttrs = append(d.SignerInfos[0].UnsignedAttrs, a)
		}),
		data("T9", "log entry twice", "sig/encoding", func(d *protocol.SignedData) {
			d.SignerInfos[0].UnsignedAttrs = append(d.SignerInfos[0].UnsignedAttrs, d.SignerInfos[0].UnsignedAttrs[0])
		}),
		data("T9", "log entry with an unknown field", "log/entry", rewriteEntry(func(b []byte) []byte { return append([]byte{0xf8, 0x07, 1}, b...) })),
		data("T9", "promise hidden in an unknown field of the log entry", "log/entry", rewriteEntry(func(b []byte) []byte {
			e := new(rekorpb.TransparencyLogEntry)
			if err := proto.Unmarshal(b, e); err != nil {
				panic(err)
			}
			promise := append([]byte{0x0a, byte(len(e.InclusionPromise.SignedEntryTimestamp))}, e.InclusionPromise.SignedEntryTimestamp...)
			at := bytes.Index(b, promise)
			b = bytes.Clone(b)
			b[at] = 0x1a // field 1 becomes field 3
			return b
		})),
		data("T9", "set of values whose tag is not a set's", "sig/encoding", func(d *protocol.SignedData) {
			d.SignerInfos[0].UnsignedAttrs[0].RawValue.FullBytes[0] &^= 0x20
		}),
		data("T9", "log entry that is cut short", "log/entry", rewriteEntry(func(b []byte) []byte { return b[:len(b)-1] })),
		data("B16", "log entry with the body of another", "log/entry-mismatch", rewriteEntry(func(b []byte) []byte {
			e := new(rekorpb.TransparencyLogEntry)
			if err := proto.Unmarshal(b, e); err != nil {
				panic(err)
			}
			e.CanonicalizedBody = []byte("{}")
			out, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
			if err != nil {
				panic(err)
			}
			return out
		})),
	})
}

// rewriteEntry changes the bytes of the log entry inside a signature.
func rewriteEntry(change func([]byte) []byte) func(*protocol.SignedData) {
	return func(d *protocol.SignedData) {
		logEntry := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 3, 1}
		attrs := d.SignerInfos[0].UnsignedAttrs
		i := slices.IndexFunc(attrs, func(a protocol.Attribute) bool { return a.Type.Equal(logEntry) })
		value, err := attrs.GetOnlyAttributeValueBytes(logEntry)
		if err != nil {
			panic(err)
		}
		if attrs[i], err = protocol.NewAttribute(logEntry, change(value.Bytes)); err != nil {
			panic(err)
		}
	}
}

func TestNoByteOfASignedCommitCanBeChanged(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	s := scene{r, r.anchor()}
	good := s.sign(s.body(), sigstoretest.SignOptions{Stamp: true})
	v := r.verifier()
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		id := r.put("commit", bad)
		if _, err := v.Verify(t.Context(), r, request(s.anchor, id)); err == nil {
			t.Errorf("byte %d (%q) became %q, and the commit is verified still", i, good[i], bad[i])
		}
		delete(r.objects, id)
	}
	r.wantYes(v, request(s.anchor, r.put("commit", good)))
}
