package gitverify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/transparency-dev/merkle/rfc6962"
	"google.golang.org/protobuf/proto"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// online is what gitsign makes with rekorMode=online: a signature without an
// entry, and an entry over the object's name by the same key.
type online struct {
	sketch
	leaf sigstoretest.Leaf
}

func newOnline(t *testing.T, o sigstoretest.SignOptions) online {
	t.Helper()
	virtual, err := sigstoretest.NewVirtual(virtualNow)
	if err != nil {
		t.Fatal(err)
	}
	s := online{sketch: sketch{t: t, virtual: virtual, payload: []byte("content\n")}}
	if s.leaf, err = virtual.Leaf(sigstoretest.SignOptions{}); err != nil {
		t.Fatal(err)
	}
	o.Leaf, o.NoLogEntry = &s.leaf, true
	if s.armored, err = virtual.Sign(s.payload, o); err != nil {
		t.Fatal(err)
	}
	return s
}

// body is that of an entry over an artifact, signed and certified by the leaf.
func (s online) body(artifact string, by sigstoretest.Leaf) []byte {
	s.t.Helper()
	digest := sha256.Sum256([]byte(artifact))
	signature, err := ecdsa.SignASN1(rand.Reader, by.Key, digest[:])
	if err != nil {
		s.t.Fatal(err)
	}
	return hashedRekord(digest, signature, by.Cert)
}

func (s online) log(body []byte, o sigstoretest.SignOptions) *rekorpb.TransparencyLogEntry {
	s.t.Helper()
	entry, err := s.virtual.Log(body, o)
	if err != nil {
		s.t.Fatal(err)
	}
	return entry
}

// entry is the right one.
func (s online) entry(o sigstoretest.SignOptions) *rekorpb.TransparencyLogEntry {
	s.t.Helper()
	return s.log(s.body(string(objectName), s.leaf), o)
}

// proveBoth proves, and fails where sigstore-go has another answer about an entry
// that is tried.
func (s online) proveBoth(v *signatureVerifier, entries ...*rekorpb.TransparencyLogEntry) (proof, error) {
	s.t.Helper()
	ev, err := v.gather(sha256.Sum256(s.payload), s.armored)
	if codeOf(err) != codeNotLogged {
		s.t.Fatal(err)
	}
	for _, e := range entries {
		encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
		if err != nil {
			s.t.Fatal(err)
		}
		if with, err := ev.with(encoded, objectName); err == nil && with.token == nil {
			ours, ourErr := v.trusted.prove(with)
			if err := v.sameAnswer(with, ours, ourErr); err != nil {
				s.t.Error(err)
			}
		}
	}
	return v.prove(s.t.Context(), s.payload, s.armored, having(s.t, entries...))
}

func TestAnEntryOverTheNameOfTheObjectCounts(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]sigstoretest.SignOptions{"without a timestamp": {}, "with a timestamp": {Stamp: true}} {
		s := newOnline(t, o)
		entry := s.entry(sigstoretest.SignOptions{})
		p, err := s.proveBoth(s.verifier(nil), entry)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if p.subject != "alice@factory.test" || p.logIndex != entry.GetLogIndex() || p.at.Unix() != entry.GetIntegratedTime() || p.stamped != o.Stamp ||
			p.payload != sha256.Sum256(s.payload) || p.seen.leaf != [32]byte(rfc6962.DefaultHasher.HashLeaf(entry.GetCanonicalizedBody())) {
			t.Errorf("%s: got %+v", name, p)
		}
	}
}

// otherS is the other value of s that verifies too: whoever sees an entry can log
// it once more, and nothing else of it.
func otherS(t *testing.T, body []byte, s online) []byte {
	t.Helper()
	sig := cmsSignature{leaf: s.leaf.Cert, key: &s.leaf.Key.PublicKey}.overName(objectName, body)
	if sig == nil {
		t.Fatal("not the entry of the object")
	}
	var rs struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(sig.signature, &rs); err != nil {
		t.Fatal(err)
	}
	rs.S.Sub(elliptic.P256().Params().N, rs.S)
	other, err := asn1.Marshal(rs)
	if err != nil {
		t.Fatal(err)
	}
	return hashedRekord(sha256.Sum256([]byte(objectName)), other, s.leaf.Cert)
}

// attacksByName are entries that a log, or whoever answers in its place, may put
// beside or instead of the right one.
func attacksByName(t *testing.T, s online) map[string]struct {
	code  string
	entry *rekorpb.TransparencyLogEntry
} {
	t.Helper()
	type answer = struct {
		code  string
		entry *rekorpb.TransparencyLogEntry
	}
	stranger, err := s.virtual.Leaf(sigstoretest.SignOptions{})
	if err != nil {
		t.Fatal(err)
	}
	good := s.body(string(objectName), s.leaf)
	raw, err := hex.DecodeString(string(objectName))
	if err != nil {
		t.Fatal(err)
	}
	other := s.log(s.body("x", s.leaf), sigstoretest.SignOptions{})
	strange := s.log(good, sigstoretest.SignOptions{ForeignLog: true})
	foreign := func(body []byte) answer { return answer{codeNotLogged, s.log(body, sigstoretest.SignOptions{})} }
	rewritten := func(from, to string) answer {
		t.Helper()
		if !bytes.Contains(good, []byte(from)) {
			t.Fatalf("no %s in the body", from)
		}
		return foreign(bytes.Replace(good, []byte(from), []byte(to), 1))
	}
	wrong := func(code string, o sigstoretest.SignOptions) answer { return answer{code, s.log(good, o)} }
	edited := func(code string, edit func(e *rekorpb.TransparencyLogEntry)) answer {
		return wrong(code, sigstoretest.SignOptions{EditEntry: edit})
	}
	return map[string]answer{
		"B15 another commit by the same key":                foreign(s.body(strings.Repeat("1", 40), s.leaf)),
		"B15 the promise for another commit":                edited(codeEntryMismatch, func(e *rekorpb.TransparencyLogEntry) { e.InclusionPromise = other.InclusionPromise }),
		"B15 the body of the right one on another":          {codeEntryMismatch, swapped(s.log(s.body("x", s.leaf), sigstoretest.SignOptions{}), good)},
		"B16 somebody else's signature over the name":       foreign(s.body(string(objectName), stranger)),
		"B16 another key with this certificate":             foreign(s.body(string(objectName), sigstoretest.Leaf{Cert: s.leaf.Cert, Key: stranger.Key})),
		"B16 this key with another certificate":             foreign(s.body(string(objectName), sigstoretest.Leaf{Cert: stranger.Cert, Key: s.leaf.Key})),
		"B16 the bytes of the name":                         foreign(s.body(string(raw), s.leaf)),
		"B16 the name in upper case":                        foreign(s.body(strings.ToUpper(string(objectName)), s.leaf)),
		"B16 the name with a line end":                      foreign(s.body(string(objectName)+"\n", s.leaf)),
		"B16 a space in the body":                           rewritten(`"kind":`, `"kind": `),
		"B16 a field more":                                  rewritten(`"kind":`, `"a":1,"kind":`),
		"B16 a field twice":                                 rewritten(`"kind":`, `"kind":"dsse","kind":`),
		"B16 an escaped letter":                             rewritten(`"hashedrekord"`, `"hashedrekor\u0064"`),
		"B16 a line end in the signature":                   rewritten(`"content":"M`, `"content":"`+"\n"+`M`),
		"B16 text after the body":                           foreign(append(slices.Clone(good), '\n')),
		"B16 an entry of kind dsse":                         rewritten(`"hashedrekord"`, `"dsse"`),
		"B16 an entry of kind intoto":                       rewritten(`"hashedrekord"`, `"intoto"`),
		"B16 another version of hashedrekord":               rewritten(`"0.0.1"`, `"0.0.2"`),
		"B16 another digest":                                rewritten(`"sha256"`, `"sha512"`),
		"B16 no body":                                       foreign(nil),
		"B16 a kind that the body does not have":            edited(codeEntry, func(e *rekorpb.TransparencyLogEntry) { e.KindVersion.Kind = "dsse" }),
		"B23 another log":                                   wrong(codeLogUnknown, sigstoretest.SignOptions{ForeignLog: true}),
		"B10 no promise, and so no time":                    wrong(codeUnproven, sigstoretest.SignOptions{NoPromise: true}),
		"B20 a promise without a proof":                     wrong(codeNoProof, sigstoretest.SignOptions{NoProof: true}),
		"B11 logged when the certificate was over":          wrong(codeOutside, sigstoretest.SignOptions{LoggedAt: virtualNow.Add(time.Hour)}),
		"B11 logged before the certificate":                 wrong(codeOutside, sigstoretest.SignOptions{LoggedAt: virtualNow.Add(-time.Minute)}),
		"B18 another place":                                 edited(codeProof, func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.LogIndex = e.InclusionProof.TreeSize }),
		"B19 a checkpoint that the log did not sign":        edited(codeCheckpoint, func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.Checkpoint = strange.InclusionProof.Checkpoint }),
		"B11 another time than the log promised, earlier":   edited(codeEntryMismatch, func(e *rekorpb.TransparencyLogEntry) { e.IntegratedTime-- }),
		"B11 another index in the log than it has promised": edited(codeEntryMismatch, func(e *rekorpb.TransparencyLogEntry) { e.LogIndex++ }),
	}
}

func swapped(e *rekorpb.TransparencyLogEntry, body []byte) *rekorpb.TransparencyLogEntry {
	e.CanonicalizedBody = body
	return e
}

func TestAttacksWithAnEntryByName(t *testing.T) {
	t.Parallel()
	s := newOnline(t, sigstoretest.SignOptions{})
	v := s.verifier(nil)
	good := s.entry(sigstoretest.SignOptions{})
	var all []*rekorpb.TransparencyLogEntry
	for name, attack := range attacksByName(t, s) {
		all = append(all, attack.entry)
		t.Run(name, func(t *testing.T) {
			s := s
			s.t = t
			if _, err := s.proveBoth(v, attack.entry); codeOf(err) != attack.code || !FromLog(err) {
				t.Errorf("want %s, got %v", attack.code, err)
			}
			for _, both := range [][]*rekorpb.TransparencyLogEntry{{attack.entry, good}, {good, attack.entry}} {
				if p, err := s.proveBoth(v, both...); err != nil || p.logIndex != good.GetLogIndex() {
					t.Errorf("beside the right one: %+v, %v", p, err)
				}
			}
		})
	}
	for n := 1; n < MaxFound; n++ {
		crowd := slices.Insert(slices.Clone(all[:MaxFound-1]), n%MaxFound, good)
		if p, err := v.prove(t.Context(), s.payload, s.armored, having(t, crowd...)); err != nil || p.logIndex != good.GetLogIndex() {
			t.Errorf("among others: %+v, %v", p, err)
		}
	}
}

func TestOfEntriesThatDisagreeTheEarliestCountsInAnyOrder(t *testing.T) { // row A18
	t.Parallel()
	s := newOnline(t, sigstoretest.SignOptions{})
	v := s.verifier(nil)
	first := s.entry(sigstoretest.SignOptions{LoggedAt: virtualNow.Add(10 * time.Second)})
	again := s.log(otherS(t, first.GetCanonicalizedBody(), s), sigstoretest.SignOptions{LoggedAt: virtualNow.Add(5 * time.Minute)})
	late := s.log(otherS(t, first.GetCanonicalizedBody(), s), sigstoretest.SignOptions{LoggedAt: virtualNow.Add(time.Hour)})
	all := []*rekorpb.TransparencyLogEntry{again, first, late}
	for range len(all) {
		all = append(all[1:], all[0])
		if p, err := s.proveBoth(v, all...); err != nil || p.logIndex != first.GetLogIndex() || p.at.Unix() != first.GetIntegratedTime() {
			t.Errorf("got %+v, %v", p, err)
		}
	}
}

func TestAProofByNameIsOfThatObjectOnly(t *testing.T) { // row B15
	t.Parallel()
	s := newOnline(t, sigstoretest.SignOptions{})
	v := s.verifier(nil)
	ask := having(t, s.entry(sigstoretest.SignOptions{}))
	if _, err := v.prove(t.Context(), s.payload, s.armored, ask); err != nil {
		t.Fatal(err)
	}
	for _, other := range []ID{ID(strings.Repeat("1", 40)), "", objectName[:39]} {
		if _, err := v.prove(t.Context(), s.payload, s.armored, inquire(ask.log, other)); codeOf(err) != codeNotLogged {
			t.Errorf("%q: got %v", other, err)
		}
	}
	if sig := (cmsSignature{leaf: s.leaf.Cert, key: &s.leaf.Key.PublicKey}).overName("", s.body("", s.leaf)); sig != nil {
		t.Error("an entry over no name counts")
	}
}

// Where the trusted root has a log that only sigstore-go can verify, a bundle has
// room for one signature: the entry's, or the timestamp's.
func TestATimestampBesideAnEntryByNameIsNotTakenOnTrust(t *testing.T) { // row B13
	t.Parallel()
	for _, stamp := range []bool{false, true} {
		s := newOnline(t, sigstoretest.SignOptions{Stamp: stamp})
		v := s.verifier(nil)
		for id, log := range v.trusted.logs {
			beyond := *log
			beyond.key = nil
			v.trusted.logs[id] = &beyond
		}
		p, err := v.prove(t.Context(), s.payload, s.armored, having(t, s.entry(sigstoretest.SignOptions{})))
		switch {
		case stamp && (err == nil || codeOf(err) != ""):
			t.Errorf("got %+v, %v", p, err)
		case !stamp && (err != nil || p.subject != "alice@factory.test"):
			t.Errorf("got %+v, %v", p, err)
		}
	}
}

// FuzzEntryByName asks that a body is taken for one form of one content only.
func FuzzEntryByName(f *testing.F) {
	virtual, err := sigstoretest.NewVirtual(virtualNow)
	if err != nil {
		f.Fatal(err)
	}
	leaf, err := virtual.Leaf(sigstoretest.SignOptions{})
	if err != nil {
		f.Fatal(err)
	}
	digest := sha256.Sum256([]byte(objectName))
	signature, err := ecdsa.SignASN1(rand.Reader, leaf.Key, digest[:])
	if err != nil {
		f.Fatal(err)
	}
	good := hashedRekord(digest, signature, leaf.Cert)
	sig := cmsSignature{leaf: leaf.Cert, key: &leaf.Key.PublicKey}
	f.Add(0, []byte{}, 0)
	f.Add(90, []byte(" "), 0)
	f.Add(210, []byte("\n"), 0)
	f.Add(20, []byte(`"kind":"dsse",`), 3)
	f.Fuzz(func(t *testing.T, at int, insert []byte, remove int) {
		if at < 0 || remove < 0 || at > len(good) || remove > len(good)-at {
			return
		}
		body := slices.Concat(good[:at], insert, good[at+remove:])
		if found := sig.overName(objectName, body); (found != nil) != bytes.Equal(body, good) {
			t.Errorf("%q: %v", body, found)
		}
	})
}
