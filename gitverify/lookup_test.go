package gitverify

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"testing"

	"github.com/github/smimesign/ietf-cms/protocol"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/proto"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// stripped is a virtual signature whose log entry is kept apart.
func stripped(t *testing.T) (s sketch, entry *rekorpb.TransparencyLogEntry) {
	t.Helper()
	s = newSketch(t, sigstoretest.SignOptions{
		EditEntry:      func(e *rekorpb.TransparencyLogEntry) { entry = proto.Clone(e).(*rekorpb.TransparencyLogEntry) },
		EditSignedData: func(d *protocol.SignedData) { d.SignerInfos[0].UnsignedAttrs = nil },
	})
	return s, entry
}

type lookupFunc func(context.Context, Question) ([][]byte, error)

func (f lookupFunc) Find(ctx context.Context, q Question) ([][]byte, error) { return f(ctx, q) }

// objectName is what the sketches call what they sign.
const objectName = ID("4b825dc642cb6eb9a060e54bf8d69288fbee4904")

// having is a log that answers every question with these entries.
func having(t *testing.T, entries ...*rekorpb.TransparencyLogEntry) *inquiry {
	t.Helper()
	var all [][]byte
	for _, e := range entries {
		encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, encoded)
	}
	return inquire(lookupFunc(func(context.Context, Question) ([][]byte, error) { return all, nil }), objectName)
}

func TestAnEntryThatIsLookedUpCountsAsOneInTheSignature(t *testing.T) {
	t.Parallel()
	s, entry := stripped(t)
	v := s.verifier(nil)
	if _, err := v.prove(t.Context(), s.payload, s.armored, nil); codeOf(err) != codeNotLogged || FromLog(err) {
		t.Fatalf("offline: %v", err)
	}
	ask := having(t, entry)
	log := ask.log
	ask.log = lookupFunc(func(ctx context.Context, q Question) ([][]byte, error) {
		block, _ := pem.Decode(q.Certificate)
		if !bytes.Equal(q.Body, entry.GetCanonicalizedBody()) || q.Object != objectName || block == nil || !bytes.Contains(q.Body, []byte(base64.StdEncoding.EncodeToString(q.Certificate))) {
			t.Errorf("asked for %+v", q)
		}
		return log.Find(ctx, q)
	})
	p, err := v.prove(t.Context(), s.payload, s.armored, ask)
	if err != nil || p.logIndex != entry.GetLogIndex() || p.at.Unix() != entry.GetIntegratedTime() {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestAnEntryInTheSignatureIsNotLookedUp(t *testing.T) {
	t.Parallel()
	s := newSketch(t, sigstoretest.SignOptions{})
	if _, err := s.verifier(nil).prove(t.Context(), s.payload, s.armored, inquire(lookupFunc(func(context.Context, Question) ([][]byte, error) {
		t.Error("the log was asked")
		return nil, errors.New("away")
	}), objectName)); err != nil {
		t.Error(err)
	}
}

func TestALogIsBelievedNoMoreThanAnEntryInTheSignature(t *testing.T) {
	t.Parallel()
	s, good := stripped(t)
	v := s.verifier(nil)
	for name, tt := range map[string]struct {
		code   string
		change func(e *rekorpb.TransparencyLogEntry)
	}{
		"another time":       {codeEntryMismatch, func(e *rekorpb.TransparencyLogEntry) { e.IntegratedTime++ }},
		"another log":        {codeLogUnknown, func(e *rekorpb.TransparencyLogEntry) { e.LogId.KeyId[0] ^= 1 }},
		"another root":       {codeCheckpoint, func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.RootHash[0] ^= 1 }},
		"another checkpoint": {codeCheckpoint, func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof.Checkpoint.Envelope = "x" }},
		"no promise":         {codeUnproven, func(e *rekorpb.TransparencyLogEntry) { e.InclusionPromise = nil }},
		"no proof":           {codeNoProof, func(e *rekorpb.TransparencyLogEntry) { e.InclusionProof = nil }},
		"another entry":      {codeNotLogged, func(e *rekorpb.TransparencyLogEntry) { e.CanonicalizedBody = []byte("{}") }},
		"no body":            {codeNotLogged, func(e *rekorpb.TransparencyLogEntry) { e.CanonicalizedBody = nil }},
		"a huge entry":       {codeEntry, func(e *rekorpb.TransparencyLogEntry) { e.CanonicalizedBody = make([]byte, maxEntry) }},
	} {
		e := proto.Clone(good).(*rekorpb.TransparencyLogEntry)
		tt.change(e)
		if _, err := v.prove(t.Context(), s.payload, s.armored, having(t, e)); codeOf(err) != tt.code || !FromLog(err) {
			t.Errorf("%s: want %q, got %v", name, tt.code, err)
		}
		if _, err := v.prove(t.Context(), s.payload, s.armored, having(t, e, good)); err != nil {
			t.Errorf("%s, and the good one: %v", name, err)
		}
	}
}

func TestALogThatIsAwayCannotTell(t *testing.T) {
	t.Parallel()
	s, _ := stripped(t)
	v := s.verifier(nil)
	for name, tt := range map[string]struct {
		entries [][]byte
		err     error
		code    string // empty: it could not be told
	}{
		"away":               {err: errors.New("away")},
		"no entry, no error": {},
		"too many entries":   {entries: make([][]byte, MaxFound+1)},
		"a huge answer":      {entries: [][]byte{make([]byte, maxAnswer+1)}},
		"no entry at all":    {entries: [][]byte{{0xff}}, code: codeEntry},
		"the log's no":       {err: fmt.Errorf("%w: nothing", ErrNotLogged), code: codeNotLogged},
	} {
		_, err := v.prove(t.Context(), s.payload, s.armored, inquire(lookupFunc(func(context.Context, Question) ([][]byte, error) { return tt.entries, tt.err }), objectName))
		if err == nil || codeOf(err) != tt.code || FromLog(err) != (tt.code != "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A hostile answer that makes a parser fail must not condemn the commit for good.
func TestARefusalForWhichALogWasAskedIsNotFinal(t *testing.T) { // row B33
	t.Parallel()
	s, _ := stripped(t)
	_, err := s.verifier(nil).prove(t.Context(), s.payload, s.armored, inquire(lookupFunc(func(context.Context, Question) ([][]byte, error) { panic("hostile") }), objectName))
	if codeOf(err) != codePanic || !FromLog(err) {
		t.Errorf("got %v", err)
	}
}

// armour writes the one form of PEM that is read.
func armour(der []byte) []byte {
	var b bytes.Buffer
	fmt.Fprint(&b, pemBegin)
	for text := base64.StdEncoding.EncodeToString(der); text != ""; {
		n := min(pemLine, len(text))
		fmt.Fprintln(&b, text[:n])
		text = text[n:]
	}
	fmt.Fprint(&b, pemEnd)
	return b.Bytes()
}
