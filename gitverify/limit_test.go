package gitverify

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"runtime"
	"syscall"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// check is one signature verification that no proof can do without.
type check struct {
	key       *ecdsa.PublicKey
	digest    []byte
	signature []byte
}

// limit is the program that proves nothing and does all the arithmetic: for
// each signature the hash of what was signed and the ECDSA verifications, over
// the very same keys, digests and signatures.
type limit struct {
	payload []byte
	checks  []check
}

func (l limit) run() bool {
	sum := sha256.Sum256(l.payload)
	good := sum != [32]byte{}
	for _, c := range l.checks {
		good = ecdsa.VerifyASN1(c.key, c.digest, c.signature) && good
	}
	return good
}

// newLimit takes the checks out of a signature that verifies.
func newLimit(tb testing.TB, v *signatureVerifier, payload, armored []byte) limit {
	tb.Helper()
	ev, err := v.gather(sha256.Sum256(payload), armored)
	if err != nil {
		tb.Fatal(err)
	}
	l := limit{payload: payload}
	add := func(key any, signed, signature []byte) {
		sum := sha256.Sum256(signed)
		l.checks = append(l.checks, check{key.(*ecdsa.PublicKey), sum[:], signature})
	}
	log := v.trusted.logs[string(ev.log.GetLogId().GetKeyId())]
	add(ev.key, ev.signed, ev.signature)
	add(log.key, []byte(ev.log.note.text), ev.log.note.signature)
	if ev.log.promised() {
		add(log.key, ev.log.promise(), ev.log.GetInclusionPromise().GetSignedEntryTimestamp())
	}
	issuer := v.trusted.authorities[0].issuers[0]
	add(issuer.cert.PublicKey, ev.leaf.RawTBSCertificate, ev.leaf.Signature)
	list, _ := extension(ev.leaf, sctsOID())
	scts, _ := readSCTs(list)
	announced, _ := withoutSCTs(ev.leaf.RawTBSCertificate)
	add(v.trusted.certificateLogs[scts[0].log].key, scts[0].covers(announced, issuer.keyHash), scts[0].signature)
	if ev.stamp != nil {
		add(v.trusted.stampers[0].leaf.PublicKey, signedForm(ev.stamp.signer.signedAttributes), ev.stamp.signer.signature)
	}
	if !l.run() {
		tb.Fatal("the limit program does not verify what it should")
	}
	return l
}

func provable(tb testing.TB, o sigstoretest.SignOptions) (v *signatureVerifier, payload, armored []byte) {
	tb.Helper()
	virtual, err := sigstoretest.NewVirtual(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		tb.Fatal(err)
	}
	payload = []byte(fuzzHead + "\nmessage\n")
	for range 200 { // so that the proof has some length
		if armored, err = virtual.Sign(payload, o); err != nil {
			tb.Fatal(err)
		}
	}
	return verifierOf(tb, virtual), payload, armored
}

func verifierOf(tb testing.TB, virtual *sigstoretest.Virtual) *signatureVerifier {
	tb.Helper()
	data, err := virtual.TrustedRootJSON()
	if err != nil {
		tb.Fatal(err)
	}
	trusted, err := ParseTrustedRoot(data)
	if err != nil {
		tb.Fatal(err)
	}
	v, err := newSignatureVerifier(trusted)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// BenchmarkProve proves one signature and runs the limit program for it, in
// turns, so that both have the same neighbours on the machine. It reports the
// processor time of each, and their ratio.
func BenchmarkProve(b *testing.B) {
	for name, o := range map[string]sigstoretest.SignOptions{"logged": {}, "stamped": {Stamp: true}} {
		b.Run(name, func(b *testing.B) {
			v, payload, armored := provable(b, o)
			l := newLimit(b, v, payload, armored)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var prove, raw time.Duration
			b.ReportAllocs()
			for b.Loop() {
				start := threadTime(b)
				if _, err := v.prove(b.Context(), payload, armored, nil); err != nil {
					b.Fatal(err)
				}
				middle := threadTime(b)
				if !l.run() {
					b.Fatal("no")
				}
				prove, raw = prove+middle-start, raw+threadTime(b)-middle
			}
			b.ReportMetric(float64(prove.Nanoseconds())/float64(b.N), "prove-cpu-ns")
			b.ReportMetric(float64(raw.Nanoseconds())/float64(b.N), "limit-cpu-ns")
			b.ReportMetric(float64(prove)/float64(raw), "prove/limit")
			b.ReportMetric(float64(len(l.checks)), "ecdsa")
		})
	}
}

// threadTime is the processor time that this thread has used.
func threadTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(1 /* RUSAGE_THREAD */, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
