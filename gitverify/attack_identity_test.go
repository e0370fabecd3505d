package gitverify_test

import (
	"crypto/x509"
	"net/url"
	"strings"
	"testing"
	"time"

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/proto"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// certificate is an attack that has an otherwise good certificate issued.
func certificate(row, name, code string, change func(*x509.Certificate)) attack {
	return signing(row, name, code, sigstoretest.SignOptions{EditCertificate: change})
}

// entry is an attack that changes the log entry inside the signature. Another
// entry comes first, so that the proof has a hash in it.
func entry(row, name, code string, change func(*rekorpb.TransparencyLogEntry)) attack {
	return attack{row, name, code, func(s scene) outcome {
		s.signed(honest)
		return alone(s.signed(sigstoretest.SignOptions{EditEntry: change}), s.signed(honest))
	}}
}

func TestAttacksOnTheIdentity(t *testing.T) {
	t.Parallel()
	runAttacks(t, []attack{
		signing("B01", "right subject, other issuer", "id/issuer", sigstoretest.SignOptions{Issuer: "https://issuer.elsewhere.test"}),
		signing("B02", "right issuer, other subject", "id/subject", sigstoretest.SignOptions{Subject: "mallory@factory.test"}),
		signing("B03", "subject that contains a listed one", "id/subject", sigstoretest.SignOptions{Subject: "alice@factory.test.attacker.test"}),
		signing("B04", "subject in other case", "id/subject", sigstoretest.SignOptions{Subject: "Alice@factory.test"}),
		signing("B04", "subject with a tag", "id/subject", sigstoretest.SignOptions{Subject: "alice+1@factory.test"}),
		signing("B04", "issuer with a slash at its end", "id/issuer", sigstoretest.SignOptions{Issuer: issuer + "/"}),
		certificate("B05", "listed e-mail address as host name", "id/san-type", func(c *x509.Certificate) {
			c.EmailAddresses, c.DNSNames = nil, []string{alice}
		}),
		certificate("B05", "listed e-mail address as URI", "id/san-type", func(c *x509.Certificate) {
			c.EmailAddresses, c.URIs = nil, []*url.URL{{Path: alice}}
		}),
		certificate("B05", "a second name beside the listed one", "id/san-type", func(c *x509.Certificate) {
			c.EmailAddresses = append(c.EmailAddresses, bob)
		}),
		certificate("B34", "two issuers that disagree", "id/issuer", func(c *x509.Certificate) {
			c.ExtraExtensions[0].Value = []byte("https://issuer.elsewhere.test")
		}),
		certificate("B34", "issuer that cannot be read beside one that can", "id/issuer", func(c *x509.Certificate) {
			c.ExtraExtensions[1].Value = []byte("https")
		}),
		certificate("B34", "bytes after the issuer", "id/issuer", func(c *x509.Certificate) {
			c.ExtraExtensions[1].Value = append(c.ExtraExtensions[1].Value, 5, 0)
		}),
		certificate("B34", "no issuer", "id/issuer", func(c *x509.Certificate) { c.ExtraExtensions = nil }),
	})
}

func TestAttacksOnTheCertificate(t *testing.T) {
	t.Parallel()
	runAttacks(t, []attack{
		signing("B26", "certificate of somebody else's authority", "cert/untrusted", sigstoretest.SignOptions{ForeignCA: true}),
		certificate("B25", "certificate for another use", "cert/untrusted", func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}),
		certificate("B25", "certificate of an authority as signer's", "cert/untrusted", func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid = true, true
		}),
		signing("B24", "no certificate timestamp", "ct/sct", sigstoretest.SignOptions{NoSCT: true}),
		signing("B24", "certificate timestamp of an unknown log", "ct/sct", sigstoretest.SignOptions{ForeignSCT: true}),
	})
}

func TestAttacksOnTheTimeOfSigning(t *testing.T) {
	t.Parallel()
	unproven := func(o sigstoretest.SignOptions) func(s scene) outcome {
		return func(s scene) outcome {
			twin := o
			twin.Stamp, twin.ForeignStamp = true, false
			return alone(s.signed(o), s.signed(twin))
		}
	}
	late := func(after time.Duration) func(s scene) outcome {
		return func(s scene) outcome {
			issued := s.virtual.Now()
			return alone(s.signed(sigstoretest.SignOptions{LoggedAt: issued.Add(after)}),
				s.signed(sigstoretest.SignOptions{LoggedAt: issued.Add(10 * time.Minute)}))
		}
	}
	runAttacks(t, []attack{
		{"B10", "no time by the log, no timestamp", "time/unproven", unproven(sigstoretest.SignOptions{NoPromise: true})},
		{"B11", "signed after the certificate expired", "time/outside-validity", late(10*time.Minute + time.Second)},
		{"B11", "signed long after, as with a stolen key", "time/outside-validity", late(30 * 24 * time.Hour)},
		{"B11", "signed before the certificate was issued", "time/outside-validity", late(-time.Second)},
		{"B11", "timestamp after the certificate expired", "time/outside-validity", func(s scene) outcome {
			o := sigstoretest.SignOptions{Stamp: true, StampedAt: s.virtual.Now().Add(time.Hour)}
			return alone(s.signed(o), s.signed(sigstoretest.SignOptions{Stamp: true}))
		}},
		{"B13", "timestamp of an unknown authority", "time/tsa", unproven(sigstoretest.SignOptions{Stamp: true, ForeignStamp: true})},
		{
			"B13", "no time by the log, timestamp of an unknown authority", "time/tsa",
			unproven(sigstoretest.SignOptions{NoPromise: true, Stamp: true, ForeignStamp: true}),
		},
	})
}

func TestAttacksOnTheLogEntry(t *testing.T) {
	t.Parallel()
	glued := func(s scene) outcome {
		var other *rekorpb.TransparencyLogEntry
		s.signed(sigstoretest.SignOptions{EditEntry: func(e *rekorpb.TransparencyLogEntry) {
			other = new(rekorpb.TransparencyLogEntry)
			proto.Merge(other, e)
		}})
		bad := s.signed(sigstoretest.SignOptions{EditEntry: func(e *rekorpb.TransparencyLogEntry) {
			proto.Reset(e)
			proto.Merge(e, other)
		}})
		return alone(bad, s.signed(honest))
	}
	runAttacks(t, []attack{
		signing("B10", "no log entry", "log/missing", sigstoretest.SignOptions{NoLogEntry: true}),
		{"B15", "valid entry of another commit of the same signer", "log/entry-mismatch", glued},
		signing("B16", "valid entry of something else", "log/entry-mismatch", sigstoretest.SignOptions{LogEntryOf: []byte("something else")}),
		signing("B16", "valid entry of something else, without its promise", "log/entry-mismatch",
			sigstoretest.SignOptions{LogEntryOf: []byte("something else"), NoPromise: true, Stamp: true}),
		signing("B23", "entry in another instance of the log", "log/unknown", sigstoretest.SignOptions{ForeignLog: true}),
		signing("B20", "promise only", "log/no-proof", sigstoretest.SignOptions{NoProof: true}),
		entry("B18", "corrupt hash", "log/proof", func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.Hashes[0][0] ^= 1 }),
		entry("B18", "too few hashes", "log/proof", func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.Hashes = nil }),
		entry("B18", "index beyond the size", "log/proof", func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.LogIndex = 9 }),
		entry("B18", "negative index of the proof", "log/proof", func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.LogIndex = -1 }),
		entry("B18", "negative index of the entry", "log/entry", func(e *rekorpb.TransparencyLogEntry) { e.LogIndex = -1 }),
		entry("B18", "tree of another size", "log/checkpoint", func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.TreeSize++ }),
		entry("B18", "time that the log did not state", "log/entry-mismatch", func(e *rekorpb.TransparencyLogEntry) { e.IntegratedTime++ }),
		entry("B19", "checkpoint without a signature", "log/checkpoint", editCheckpoint("\n\n", "\n\nx")),
		entry("B19", "checkpoint by another origin", "log/checkpoint", editCheckpoint("rekor.virtual.test - 1", "rekor.elsewhere.test - 1")),
		entry("B19", "checkpoint with another name in its signature", "log/checkpoint", editCheckpoint("\u2014 rekor", "\u2014 other")),
		entry("B19", "checkpoint of another tree of that log", "log/checkpoint", editCheckpoint(".test - 1", ".test - 2")),
		entry("B19", "root that is not the checkpoint's", "log/checkpoint", func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.RootHash[0] ^= 1 }),
		entry("B19", "signature of the checkpoint twice", "log/checkpoint", func(e *rekorpb.TransparencyLogEntry) {
			c := e.InclusionProof.Checkpoint
			_, line, _ := strings.Cut(c.Envelope, "\n\n")
			c.Envelope += line
		}),
		entry("B19", "signature of the checkpoint in two lines", "log/checkpoint", func(e *rekorpb.TransparencyLogEntry) {
			c := e.InclusionProof.Checkpoint
			c.Envelope = c.Envelope[:len(c.Envelope)-20] + "\n" + c.Envelope[len(c.Envelope)-20:]
		}),
		entry("B19", "checkpoint without its last line end", "log/checkpoint", func(e *rekorpb.TransparencyLogEntry) {
			c := e.InclusionProof.Checkpoint
			c.Envelope = strings.TrimSuffix(c.Envelope, "\n")
		}),
		entry("B19", "checkpoint with a hint at another key", "log/checkpoint", editCheckpoint("rekor.virtual.test ", "rekor.virtual.test A")),
		entry("B19", "checkpoint without a root", "log/checkpoint", func(e *rekorpb.TransparencyLogEntry) {
			e.InclusionProof.Checkpoint.Envelope = "rekor.virtual.test - 1\n2\n\n\u2014 rekor.virtual.test AAAA\n"
		}),
		entry("B19", "no checkpoint", "log/checkpoint", func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.Checkpoint = nil }),
		entry("B16", "entry of another kind", "log/entry", func(e *rekorpb.TransparencyLogEntry) { e.KindVersion.Kind = "dsse" }),
		entry("B16", "entry that names no log", "log/entry", func(e *rekorpb.TransparencyLogEntry) { e.LogId = nil }),
	})
}

func editCheckpoint(from, to string) func(*rekorpb.TransparencyLogEntry) {
	return func(e *rekorpb.TransparencyLogEntry) {
		c := e.InclusionProof.Checkpoint
		c.Envelope = strings.Replace(c.Envelope, from, to, 1)
	}
}

func TestACertificateThatExpiredLongAgoCountsWhenTheLogSaysItWasValidThen(t *testing.T) { // row B09
	t.Parallel()
	r := newRepository(t)
	s := scene{r, r.anchor()}
	tip := s.signed(sigstoretest.SignOptions{Lifetime: 5 * time.Second})
	if age := time.Since(r.virtual.Now()); age < 24*time.Hour {
		t.Fatalf("the certificate expired only %s ago", age)
	}
	got := r.wantYes(r.verifier(), request(s.anchor, tip))
	if c, ok := got.Tip(); !ok || !c.SignedAt.Equal(r.virtual.Now().Add(time.Second)) {
		t.Errorf("the signing time should be the log's, got %+v", c)
	}
}

func TestTheEarlierOfTwoProvenTimesIsTheSigningTime(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	s := scene{r, r.anchor()}
	now := r.virtual.Now()
	tip := s.signed(sigstoretest.SignOptions{Stamp: true, StampedAt: now.Add(time.Second), LoggedAt: now.Add(3 * time.Second)})
	if c, _ := r.wantYes(r.verifier(), request(s.anchor, tip)).Tip(); !c.SignedAt.Equal(now.Add(time.Second)) {
		t.Errorf("got %s", c.SignedAt)
	}
}
