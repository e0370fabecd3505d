package gitverify

import (
	"bytes"
	"context"
	"encoding/base64"
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

type lookupFunc func(context.Context, []byte) ([]byte, error)

func (f lookupFunc) Find(ctx context.Context, body []byte) ([]byte, error) { return f(ctx, body) }

// answering is a log that answers every question with the entry, after changes.
func answering(t *testing.T, entry *rekorpb.TransparencyLogEntry, change func(e *rekorpb.TransparencyLogEntry)) LogLookup {
	return lookupFunc(func(_ context.Context, body []byte) ([]byte, error) {
		if !bytes.Equal(body, entry.GetCanonicalizedBody()) {
			t.Errorf("asked for %q", body)
		}
		e := proto.Clone(entry).(*rekorpb.TransparencyLogEntry)
		e.CanonicalizedBody = nil
		change(e)
		return proto.MarshalOptions{Deterministic: true}.Marshal(e)
	})
}

func TestAnEntryThatIsLookedUpCountsAsOneInTheSignature(t *testing.T) {
	t.Parallel()
	s, entry := stripped(t)
	v := s.verifier(nil)
	if _, err := v.prove(t.Context(), s.payload, s.armored, nil); codeOf(err) != codeNotLogged {
		t.Fatalf("offline: %v", err)
	}
	p, err := v.prove(t.Context(), s.payload, s.armored, answering(t, entry, func(*rekorpb.TransparencyLogEntry) {}))
	if err != nil || p.logIndex != entry.GetLogIndex() || p.at.Unix() != entry.GetIntegratedTime() {
		t.Errorf("got %+v, %v", p, err)
	}
}

func TestAnEntryInTheSignatureIsNotLookedUp(t *testing.T) {
	t.Parallel()
	s := newSketch(t, sigstoretest.SignOptions{})
	if _, err := s.verifier(nil).prove(t.Context(), s.payload, s.armored, lookupFunc(func(context.Context, []byte) ([]byte, error) {
		t.Error("the log was asked")
		return nil, errors.New("away")
	})); err != nil {
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
		"another entry":      {codeEntryMismatch, func(e *rekorpb.TransparencyLogEntry) { e.CanonicalizedBody = []byte("{}") }},
	} {
		if _, err := v.prove(t.Context(), s.payload, s.armored, answering(t, good, tt.change)); codeOf(err) != tt.code {
			t.Errorf("%s: want %q, got %v", name, tt.code, err)
		}
	}
}

func TestALogThatIsAwayCannotTell(t *testing.T) {
	t.Parallel()
	s, _ := stripped(t)
	v := s.verifier(nil)
	for name, tt := range map[string]struct {
		entry []byte
		err   error
		code  string // empty: it could not be told
	}{
		"away":            {err: errors.New("away")},
		"an empty answer": {},
		"a huge answer":   {entry: make([]byte, maxLookedUp+1)},
		"the log's no":    {err: fmt.Errorf("%w: nothing", ErrNotLogged), code: codeNotLogged},
	} {
		_, err := v.prove(t.Context(), s.payload, s.armored, lookupFunc(func(context.Context, []byte) ([]byte, error) { return tt.entry, tt.err }))
		if err == nil || codeOf(err) != tt.code {
			t.Errorf("%s: %v", name, err)
		}
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
