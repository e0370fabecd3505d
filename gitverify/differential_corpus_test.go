package gitverify_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"strings"
	"time"

	"github.com/github/smimesign/ietf-cms/protocol"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// specimen is one commit of the corpus and what ours, gitsign, git and fsck say
// of it. Where they differ it says who is right, and why.
type specimen struct {
	name       string
	make       func(s scene) []byte
	want       string
	right, why string
}

// signedWith makes a commit that is signed as the options say.
func signedWith(o sigstoretest.SignOptions) func(s scene) []byte {
	return func(s scene) []byte { return s.sign(s.body(), o) }
}

// editedBefore changes the bytes and signs them then; editedAfter changes what
// was signed.
func editedBefore(from, to string) func(s scene) []byte {
	return func(s scene) []byte { return s.sign(s.replaceOnce(s.body(), from, to), honest) }
}

func editedAfter(from, to string) func(s scene) []byte {
	return func(s scene) []byte { return s.replaceOnce(s.sign(s.body(), honest), from, to) }
}

func reencoded(change func([]byte) []byte) func(s scene) []byte {
	return func(s scene) []byte { return s.resigned(s.sign(s.body(), honest), change) }
}

func editedData(change func(*protocol.SignedData)) func(s scene) []byte {
	return signedWith(sigstoretest.SignOptions{EditSignedData: change})
}

func editedEntry(change func(*rekorpb.TransparencyLogEntry)) func(s scene) []byte {
	return signedWith(sigstoretest.SignOptions{EditEntry: change})
}

func editedCertificate(change func(*x509.Certificate)) func(s scene) []byte {
	return signedWith(sigstoretest.SignOptions{EditCertificate: change})
}

// specimens is the corpus.
func specimens() []specimen {
	var all []specimen
	for _, part := range [][]specimen{formSpecimens(), encodingSpecimens(), evidenceSpecimens()} {
		all = append(all, part...)
	}
	return all
}

func formSpecimens() []specimen {
	const person = "X <x@example.test> 1700000000 +0000"
	return []specimen{
		{"honest", signedWith(honest), "YYYY", "", ""},
		{"unsigned", func(s scene) []byte { return s.body() }, "NNNY", "", ""},
		{"message edited", editedAfter("\n\nchange", "\n\nchanged"), "NNNY", "", ""},
		{"carriage return added to the message", editedAfter("change\n", "change\r\n"), "NYNY", "ours", "gitsign reads lines and drops the carriage return: other bytes under a good signature, and git says so too"},
		{"carriage return added to the committer", editedAfter("+0000\ngpgsig", "+0000\r\ngpgsig"), "NYNN", "ours", "the same in a header"},
		{"last line end cut off", editedAfter("change\n", "change"), "NYNY", "ours", "gitsign adds a line end where there is none: other bytes under a good signature"},
		{"line end added", editedAfter("change\n", "change\n\n"), "NNNY", "", ""},
		{"carriage returns signed", editedBefore("change\n", "change\r\nmore\r\n"), "YNYY", "ours", "what was signed is what is stored; gitsign drops bytes before it looks"},
		{"no last line end, signed", editedBefore("change\n", "change"), "YNYY", "ours", "what was signed is what is stored; gitsign adds a byte before it looks"},
		{"line of 70 kB, signed", editedBefore("change\n", strings.Repeat("x", 70_000)+"\n"), "YNYY", "ours", "gitsign gives up on lines of more than 64 KiB; git has no such limit, we have one for the whole commit"},
		{"two trees, signed over one", editedAfter("\nparent ", "\ntree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nparent "), "NNNN", "", ""},
		{"two trees, both signed", editedBefore("\nparent ", "\ntree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nparent "), "NYYN", "ours", "A05: git and go-git may take one tree each, so one signature would stand for two contents; fsck says so too"},
		{"two authors, both signed", editedBefore("\nauthor ", "\nauthor "+person+"\nauthor "), "NYYN", "ours", "A06: two readers may take one author each; fsck says so too"},
		{"two committers, both signed", editedBefore("\ncommitter ", "\ncommitter "+person+"\ncommitter "), "NYYY", "ours", "A06: two readers may take one committer each"},
		{"author without a date, signed", editedBefore("1700000000 +0000\ncommitter", "\ncommitter"), "NYYN", "ours", "A06: git would not write it; fsck says so too"},
		{"NUL in the message, signed", editedBefore("change\n", "cha\x00nge\n"), "NYYN", "ours", "A20: C programs stop reading there; fsck warns too"},
		{"NUL in a header, signed", editedBefore("A U Thor", "A U\x00Thor"), "NYNN", "ours", "A20: C programs stop reading there, git too"},
		{"unknown header, signed", editedBefore("\n\nchange", "\nHG:extra topic\n\nchange"), "NYYY", "ours", "A26: a strict reading; what a header means to a later git is not known today"},
		{"continuation line on the committer, signed", editedBefore("\n\nchange", "\n more\n\nchange"), "NYYY", "ours", "A26: readers differ in whether the line belongs to the committer"},
		{"encoding header, signed", editedBefore("\n\nchange", "\nencoding ISO-8859-1\n\nchange"), "YYYY", "", ""},
		{"header after the signature", editedAfter("\n\nchange", "\nencoding UTF-8\n\nchange"), "NNNY", "", ""},
		{"second signature of something else", func(s scene) []byte {
			other := s.signature(s.sign(unsigned(s.tree(files()), "other"), honest))
			return s.replaceOnce(s.sign(s.body(), honest), "\n\nchange", "\n"+other+"\nchange")
		}, "NNYY", "ours", "A07: git takes the two for one and stops at the end of the first; which one counts must not depend on the reader"},
		{"signature in gpgsig-sha256 only", editedAfter("gpgsig ", "gpgsig-sha256 "), "NYNY", "ours", "A08: in a SHA-1 repository this header is evidence of nothing, and git looks at gpgsig only"},
		{"junk in gpgsig-sha256 beside the signature", editedAfter("\n\nchange", "\ngpgsig-sha256 junk\n\nchange"), "NYYY", "ours", "A08: nothing signs the junk, so that one signed content would have many ids (T9)"},
		{"signature before the committer", func(s scene) []byte {
			signed := s.sign(s.body(), honest)
			header := s.signature(signed)
			return s.replaceOnce(s.replaceOnce(signed, header, ""), "committer ", header+"committer ")
		}, "NYYN", "ours", "nothing signs the place of the header, so that one signed content would have many ids (T9); fsck says so too"},
		{"signed mergetag in an unsigned merge", func(s scene) []byte {
			side := s.signed(honest)
			return s.withMergetag(unsigned(s.tree(files("a", "1")), "merge", s.anchor, side), side)
		}, "NNNY", "", ""},
		{"signed merge with a mergetag", func(s scene) []byte {
			side := s.signed(honest)
			return s.sign(s.withMergetag(unsigned(s.tree(files("a", "1")), "merge", s.anchor, side), side), honest)
		}, "YYYY", "", ""},
		{"the same parent twice, signed", func(s scene) []byte {
			return s.sign(s.replaceOnce(s.body(), "\nauthor ", "\nparent "+string(s.anchor)+"\nauthor "), honest)
		}, "NYYY", "ours", "readers differ in how many parents there are: git drops the second"},
	}
}

func encodingSpecimens() []specimen {
	return []specimen{
		{"line after the PEM block", editedAfter("-----END SIGNED MESSAGE-----\n", "-----END SIGNED MESSAGE-----\n junk\n"), "NYYY", "ours", "A10: nothing signs the line, so that one signed content would have many ids (T9)"},
		{"line before the PEM block", editedAfter("gpgsig ", "gpgsig junk\n "), "NYNY", "ours", "A10: the same; git wants the block first"},
		{"two spaces before a line", editedAfter("\n -----END", "\n  -----END"), "NYNY", "ours", "A10: the same; here the last line of the block, which git then does not find"},
		{"tab instead of the space before a line", editedAfter("\n -----END", "\n\t-----END"), "NYNY", "ours", "A10: the same; for git the signature ends before the tab"},
		{"PEM header line", editedAfter("MESSAGE-----\n ", "MESSAGE-----\n X: y\n \n "), "NYYY", "ours", "A10: nothing signs the line (T9)"},
		{"bytes after the DER value", reencoded(func(der []byte) []byte { return append(der, 5, 0) }), "NYYY", "ours", "A10: nothing signs them (T9)"},
		{"indefinite length", reencoded(func(der []byte) []byte { return append(append([]byte{0x30, 0x80}, der[4:]...), 0, 0) }), "NYYY", "ours", "A10: BER has many encodings of one value (T9)"},
		{"length in more bytes than it needs", reencoded(func(der []byte) []byte {
			return append([]byte{0x30, 0x83, 0, der[2], der[3]}, der[4:]...)
		}), "NNNY", "", ""},
		{"junk at the end of the content info", reencoded(func(der []byte) []byte { return grown(der, 0) }), "NYYY", "ours", "A10: nothing signs it (T9)"},
		{"junk at the end of the signed data", reencoded(func(der []byte) []byte { return grown(der, 2) }), "NYYY", "ours", "A10: nothing signs it (T9)"},
		{"junk at the end of the signer", reencoded(func(der []byte) []byte { return grown(der, 4) }), "NYYY", "ours", "A10: nothing signs it (T9)"},
		{"unsigned attribute that is evidence of nothing", editedData(func(d *protocol.SignedData) {
			a, err := protocol.NewAttribute(asn1.ObjectIdentifier{1, 2, 3}, "hello")
			if err != nil {
				panic(err)
			}
			d.SignerInfos[0].UnsignedAttrs = append(d.SignerInfos[0].UnsignedAttrs, a)
		}), "NYYY", "ours", "A10: nothing signs it (T9)"},
		{"no certificate", signedWith(sigstoretest.SignOptions{NoCertificate: true}), "NNNY", "", ""},
		{"certificate of alice before the one of mallory, who signed", func(s scene) []byte {
			decoy, err := s.virtual.Leaf(honest)
			if err != nil {
				s.t.Fatal(err)
			}
			return s.sign(s.body(), sigstoretest.SignOptions{Subject: "mallory@factory.test", MoreCertificates: []*x509.Certificate{decoy.Cert}})
		}, "NNYY", "ours", "A14: git does not ask for an identity; the signer is mallory"},
		{"the signer's certificate twice", editedData(func(d *protocol.SignedData) { d.Certificates = append(d.Certificates, d.Certificates[0]) }), "NYYY", "ours", "nothing signs the number of certificates (T9)"},
		{"content of its own", signedWith(sigstoretest.SignOptions{Attached: true}), "NYYY", "ours", "A17: nothing signs the content, and it might differ from the commit's"},
		{"two signers, the same twice", editedData(func(d *protocol.SignedData) { d.SignerInfos = append(d.SignerInfos, d.SignerInfos[0]) }), "NYYY", "ours", "which signer counts must not depend on the reader, and nothing signs their number (T9)"},
		{"wrong signature", editedData(func(d *protocol.SignedData) { d.SignerInfos[0].Signature[20] ^= 1 }), "NNNY", "", ""},
		{"P-384", signedWith(sigstoretest.SignOptions{Curve: elliptic.P384()}), "NYYY", "ours", "A18: not broken, but gitsign makes P-256 keys only, and one curve is one parser"},
		{"named PGP SIGNATURE", signedWith(sigstoretest.SignOptions{PEMType: "PGP SIGNATURE"}), "NNNY", "", ""},
		{"named SSH SIGNATURE", signedWith(sigstoretest.SignOptions{PEMType: "SSH SIGNATURE"}), "NNNY", "", ""},
		{"no signed attributes", editedData(func(d *protocol.SignedData) { d.SignerInfos[0].SignedAttrs = nil }), "NNNY", "", ""},
	}
}

func evidenceSpecimens() []specimen {
	late := func(s scene) []byte {
		return s.sign(s.body(), sigstoretest.SignOptions{LoggedAt: s.virtual.Now().Add(11 * time.Minute)})
	}
	return []specimen{
		{"with a timestamp", signedWith(sigstoretest.SignOptions{Stamp: true}), "YNNY", "ours", "gitsign takes the token for a whole response (RFC 3161, 2.4.2) and cannot verify what it signs itself"},
		{"a stranger", signedWith(sigstoretest.SignOptions{Subject: "mallory@factory.test"}), "NNYY", "ours", "git does not ask who it was"},
		{"alice by another issuer", signedWith(sigstoretest.SignOptions{Issuer: "https://issuer.elsewhere.test"}), "NNYY", "ours", "B01: git does not ask who it was"},
		{"alice, in other case", signedWith(sigstoretest.SignOptions{Subject: "Alice@factory.test"}), "NNYY", "ours", "B04: git does not ask who it was"},
		{"a second name beside alice", editedCertificate(func(c *x509.Certificate) { c.EmailAddresses = append(c.EmailAddresses, bob) }), "NYYY", "ours", "B05: with two names in a certificate it depends on the reader who signed; Fulcio writes one"},
		{"two issuers that disagree", editedCertificate(func(c *x509.Certificate) {
			c.ExtraExtensions[0].Value = []byte("https://issuer.elsewhere.test")
		}), "NYYY", "ours", "B34: it depends on the reader which of the two extensions counts"},
		{"authority that signs as alice", editedCertificate(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), "NYYY", "ours", "B25: a certificate that may issue others is no signer's"},
		{"certificate for another use", editedCertificate(func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}), "NNNY", "", ""},
		{"another authority", signedWith(sigstoretest.SignOptions{ForeignCA: true}), "NNNY", "", ""},
		{"no certificate timestamp", signedWith(sigstoretest.SignOptions{NoSCT: true}), "NNNY", "", ""},
		{"certificate timestamp of an unknown log", signedWith(sigstoretest.SignOptions{ForeignSCT: true}), "NNNY", "", ""},
		{"logged after the certificate expired", late, "NNNY", "", ""},
		{"logged before the certificate was issued", func(s scene) []byte {
			return s.sign(s.body(), sigstoretest.SignOptions{LoggedAt: s.virtual.Now().Add(-time.Minute)})
		}, "NNNY", "", ""},
		{"timestamp of an unknown authority", signedWith(sigstoretest.SignOptions{Stamp: true, ForeignStamp: true}), "NNNY", "", ""},
		{"no log entry", signedWith(sigstoretest.SignOptions{NoLogEntry: true}), "NNNY", "", ""},
		{"no promise of the log", signedWith(sigstoretest.SignOptions{NoPromise: true}), "NNNY", "", ""},
		{"no inclusion proof", signedWith(sigstoretest.SignOptions{NoProof: true}), "NNNY", "", ""},
		{"entry of something else", signedWith(sigstoretest.SignOptions{LogEntryOf: []byte("something else")}), "NNNY", "", ""},
		{"entry in another log", signedWith(sigstoretest.SignOptions{ForeignLog: true}), "NNNY", "", ""},
		{"entry of another time", editedEntry(func(e *rekorpb.TransparencyLogEntry) { e.IntegratedTime++ }), "NNNY", "", ""},
		{"no checkpoint", editedEntry(func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.Checkpoint = nil }), "NNNY", "", ""},
		{"checkpoint without a good signature", editedEntry(editCheckpoint("\u2014 rekor", "\u2014 other")), "NYYY", "ours", "B19: the promise alone convinces gitsign; without the checkpoint's signature the proof proves nothing"},
		{"checkpoint by another origin", editedEntry(editCheckpoint("rekor.virtual.test - 1", "rekor.elsewhere.test - 1")), "NNNY", "", ""},
		{"corrupt inclusion proof", func(s scene) []byte {
			s.signed(honest)
			return s.sign(s.body(), sigstoretest.SignOptions{EditEntry: func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.Hashes[0][0] ^= 1 }})
		}, "NNNY", "", ""},
		{"entry with an unknown field", editedData(rewriteEntry(func(b []byte) []byte { return append([]byte{0xf8, 0x07, 1}, b...) })), "NYYY", "ours", "nothing signs the field (T9), and it may hide a known one"},
	}
}
