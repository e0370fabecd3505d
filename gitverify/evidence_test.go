package gitverify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"testing"

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/proto"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// TestSigstoreAgreesAboutMutatedEvidence changes parts after they were taken
// out of a signature, so that every mutation reaches the proving itself.
func TestSigstoreAgreesAboutMutatedEvidence(t *testing.T) {
	t.Parallel()
	n := 1000
	if testing.Short() {
		n = 150
	}
	for name, o := range map[string]sigstoretest.SignOptions{"logged": {}, "stamped": {Stamp: true}, "stamped only": {Stamp: true, NoPromise: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSketch(t, o)
			for range 5 { // so that a proof has hashes in it
				var err error
				if s.armored, err = s.virtual.Sign(s.payload, o); err != nil {
					t.Fatal(err)
				}
			}
			v, good := s.verifier(nil), s.evidence()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			m := mutator{rand.New(rand.NewPCG(seed, 0)), v}
			reached, accepted := 0, 0
			for i := range n {
				ev, ok := m.mutate(good)
				if !ok {
					continue
				}
				reached++
				p, err := v.trusted.prove(ev)
				if errors.Is(err, errBeyond) {
					t.Errorf("mutation %d: we could not tell", i)
					continue
				}
				if err == nil {
					accepted++
				}
				if err := v.sameAnswer(ev, p, err); err != nil {
					t.Errorf("mutation %d: %v", i, err)
				}
			}
			// Without a promise nothing signs the entry's index and time.
			if reached < n/2 || accepted > 0 && !o.NoPromise {
				t.Errorf("%d of %d reached the proving, and %d were accepted", reached, n, accepted)
			}
		})
	}
}

type mutator struct {
	*rand.Rand
	v *signatureVerifier
}

// mutate changes one thing. It says no where the form of the parts, which
// sigstore-go never looks at, would refuse the change already.
func (m mutator) mutate(good evidence) (evidence, bool) {
	ev := good
	ev.log.TransparencyLogEntry = proto.Clone(good.log.TransparencyLogEntry).(*rekorpb.TransparencyLogEntry)
	entry := ev.log.TransparencyLogEntry
	p := entry.InclusionProof
	kinds := 9
	if ev.stamp != nil {
		kinds = 12
	}
	switch m.IntN(kinds) {
	case 0:
		entry.IntegratedTime += m.Int64N(1000) - 500
	case 1:
		entry.LogIndex += 1 + m.Int64N(9)
	case 2:
		p.LogIndex = m.Int64N(12) - 2
	case 3:
		p.Hashes[m.IntN(len(p.Hashes))][m.IntN(32)] ^= 1 << m.IntN(8)
	case 4:
		p.Hashes = p.Hashes[:m.IntN(len(p.Hashes))]
	case 5:
		if entry.InclusionPromise == nil {
			return ev, false
		}
		entry.InclusionPromise.SignedEntryTimestamp = m.bytes(entry.InclusionPromise.SignedEntryTimestamp)
	case 6:
		p.Checkpoint.Envelope = string(m.bytes([]byte(p.Checkpoint.Envelope)))
	case 7:
		entry.CanonicalizedBody = m.bytes(entry.CanonicalizedBody)
	case 8:
		leaf, err := x509.ParseCertificate(m.bytes(ev.leaf.Raw))
		if err != nil || !ev.key.Equal(leaf.PublicKey) {
			return ev, false
		}
		ev.leaf, ev.key = leaf, leaf.PublicKey.(*ecdsa.PublicKey)
		entry.CanonicalizedBody = ev.hashedRekord()
	default:
		ev.token = m.bytes(ev.token)
		stamp, err := readToken(ev.token, m.v.trusted)
		if err != nil {
			return ev, false
		}
		ev.stamp = &stamp
	}
	note, err := readCheckpoint(p)
	ev.log.note = note
	changed := !proto.Equal(entry, good.log.TransparencyLogEntry) || !bytes.Equal(ev.token, good.token)
	return ev, err == nil && changed
}

// bytes changes a byte.
func (m mutator) bytes(b []byte) []byte {
	b = bytes.Clone(b)
	b[m.IntN(len(b))] ^= 1 << m.IntN(8)
	return b
}
