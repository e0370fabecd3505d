package gitverify_test

import (
	"bytes"
	"context"
	"encoding/asn1"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/github/smimesign/ietf-cms/protocol"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// restamped changes the bytes of the timestamp inside a signature.
func restamped(change func([]byte) []byte) func(*protocol.SignedData) {
	return func(d *protocol.SignedData) {
		stamp := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 14}
		attrs := d.SignerInfos[0].UnsignedAttrs
		for i, a := range attrs {
			if !a.Type.Equal(stamp) {
				continue
			}
			value, err := a.Value()
			if err != nil {
				panic(err)
			}
			changed := asn1.RawValue{FullBytes: change(value.Elements[0].FullBytes)}
			if attrs[i], err = protocol.NewAttribute(stamp, changed); err != nil {
				panic(err)
			}
			return
		}
		panic("no timestamp")
	}
}

// token takes a timestamp apart for a change: data are the elements of its
// SignedData, signer those of the one SignerInfo in it.
func token(change func(data, signer []asn1.RawValue) []asn1.RawValue) func([]byte) []byte {
	return func(der []byte) []byte {
		type contentInfo struct {
			Type    asn1.ObjectIdentifier
			Content asn1.RawValue `asn1:"explicit,tag:0"`
		}
		var info contentInfo
		if _, err := asn1.Unmarshal(bytes.Clone(der), &info); err != nil {
			panic(err)
		}
		data := sequence(info.Content.Bytes)
		last := len(data) - 1
		signer := change(data, sequence(data[last].Bytes))
		data[last] = asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: joined(signer)}
		info.Content = asn1.RawValue{Class: asn1.ClassContextSpecific, IsCompound: true, Bytes: joined(data)}
		out, err := asn1.Marshal(info)
		if err != nil {
			panic(err)
		}
		return out
	}
}

// growSID puts junk behind the serial number by which a token names its signer.
func growSID(_, signer []asn1.RawValue) []asn1.RawValue {
	signer[1] = asn1.RawValue{FullBytes: grown(bytes.Clone(signer[1].FullBytes), 0)}
	return signer
}

// addCertificates puts more certificates into a token.
func addCertificates(more func(own []byte) []byte) func([]byte) []byte {
	return token(func(data, signer []asn1.RawValue) []asn1.RawValue {
		own := data[3]
		data[3] = asn1.RawValue{Class: own.Class, Tag: own.Tag, IsCompound: true, Bytes: append(bytes.Clone(own.Bytes), more(own.Bytes)...)}
		return signer
	})
}

func sequence(der []byte) (elements []asn1.RawValue) {
	var outer asn1.RawValue
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		panic(err)
	}
	for rest := outer.Bytes; len(rest) > 0; {
		var e asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &e); err != nil {
			panic(err)
		}
		elements = append(elements, e)
	}
	return elements
}

func joined(elements []asn1.RawValue) []byte {
	out, err := asn1.Marshal(elements)
	if err != nil {
		panic(err)
	}
	return out
}

func TestAttacksOnTheUnsignedPartsOfASignature(t *testing.T) {
	t.Parallel()
	stamped := func(row, name, code string, change func(*protocol.SignedData)) attack {
		return attack{row, name, code, func(s scene) outcome {
			return alone(s.signed(sigstoretest.SignOptions{Stamp: true, EditSignedData: change}), s.signed(sigstoretest.SignOptions{Stamp: true}))
		}}
	}
	runAttacks(t, []attack{
		stamped("T9", "junk behind the signer's serial number", "sig/encoding", func(d *protocol.SignedData) {
			d.SignerInfos[0].SID = asn1.RawValue{FullBytes: grown(d.SignerInfos[0].SID.FullBytes, 0)}
		}),
		stamped("T9", "junk behind the serial number of the timestamp's signer", "time/tsa", restamped(token(growSID))),
		stamped("T9", "junk at the end of a timestamp", "time/tsa", restamped(func(der []byte) []byte { return grown(bytes.Clone(der), 0) })),
		stamped("T9", "unsigned attribute in a timestamp", "time/tsa", restamped(token(func(_, signer []asn1.RawValue) []asn1.RawValue {
			a, err := protocol.NewAttribute(asn1.ObjectIdentifier{1, 2, 3}, "hello")
			if err != nil {
				panic(err)
			}
			der, err := asn1.Marshal(a)
			if err != nil {
				panic(err)
			}
			return append(signer, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, IsCompound: true, Bytes: der})
		}))),
		stamped("T9", "timestamp of another version", "time/tsa", restamped(token(func(data, signer []asn1.RawValue) []asn1.RawValue {
			data[0] = asn1.RawValue{FullBytes: []byte{2, 1, 1}}
			return signer
		}))),
		stamped("T9", "timestamp whose list of digests has parameters", "time/tsa", restamped(token(func(data, signer []asn1.RawValue) []asn1.RawValue {
			var oid asn1.RawValue
			if _, err := asn1.Unmarshal(sequence(data[1].FullBytes)[0].Bytes, &oid); err != nil {
				panic(err)
			}
			one := joined([]asn1.RawValue{oid, asn1.NullRawValue})
			data[1] = asn1.RawValue{Tag: asn1.TagSet, IsCompound: true, Bytes: one}
			return signer
		}))),
		stamped("T9", "certificate twice in a timestamp", "time/tsa", restamped(addCertificates(func(own []byte) []byte { return own }))),
		{"T9", "certificate of nobody's in a timestamp", "time/tsa", func(s scene) outcome {
			foreign, _ := s.virtual.ForeignCA()
			change := restamped(addCertificates(func([]byte) []byte { return foreign.Raw }))
			return alone(s.signed(sigstoretest.SignOptions{Stamp: true, EditSignedData: change}), s.signed(sigstoretest.SignOptions{Stamp: true}))
		}},
	})
}

func TestTheTimestampIsTakenApartAndPutTogetherAgainFaithfully(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	s := scene{r, r.anchor()}
	tip := s.signed(sigstoretest.SignOptions{Stamp: true, EditSignedData: restamped(token(func(_, signer []asn1.RawValue) []asn1.RawValue { return signer }))})
	r.wantYes(r.verifier(), request(s.anchor, tip))
}

func TestAnIndexThatTheLogDidNotPromiseIsUnknown(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	s := scene{r, r.anchor()}
	tip := s.signed(sigstoretest.SignOptions{NoPromise: true, Stamp: true, EditEntry: func(e *rekorpb.TransparencyLogEntry) { e.LogIndex = 4711 }})
	if c, _ := r.wantYes(r.verifier(), request(s.anchor, tip)).Tip(); c.LogIndex != -1 {
		t.Errorf("index %d is nobody's word but the pusher's", c.LogIndex)
	}
}

func TestADamagedPolicyOfAParentDoesNotHideItsVersion(t *testing.T) { // rows A29, T8
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	main := r.commit("main", files("a", "1"), anchor)
	side := r.commit("policy 3", files(policyPath, policyFile(3)), anchor)
	merge := r.commit("merge", files(policyPath, policyWithCarol(2)), main, side)
	good := r.commit("merge", files(policyPath, policyWithCarol(4)), main, side)
	r.wantNo(r.verifier(), request(anchor, merge), "policy/version", merge)
	r.wantYes(r.verifier(), request(anchor, good))
	blob := r.put("blob", []byte(policyFile(3)))
	for name, lie := range map[string]object{"other bytes": {"blob", []byte("x")}, "another kind": {"tree", nil}} {
		r.objects[blob] = lie
		if _, err := r.verifier().Verify(t.Context(), r, request(anchor, merge)); err == nil {
			t.Errorf("%s: a merge below its parent's version was accepted", name)
		}
	}
}

func TestAMissingObjectDeepInASideBranchHidesNothing(t *testing.T) { // row C09
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	deep := r.put("commit", unsigned(r.tree(files("b", "1")), "unsigned, deep", anchor))
	tip := r.commit("merge", files(), r.commit("main", files("a", "1"), anchor), r.commit("side", files("b", "1"), deep))
	// One that takes nothing from the side needs none of its content.
	ours := r.commit("merge", files("a", "1"), r.commit("main", files("a", "1"), anchor), r.commit("side", files("b", "2"), deep))
	for _, id := range []gitverify.ID{tip, ours} {
		r.wantNo(r.verifier(), request(anchor, id), "sig/missing", deep)
	}
	delete(r.objects, deep)
	for _, id := range []gitverify.ID{tip, ours} {
		_, err := r.verifier().Verify(t.Context(), r, request(anchor, id))
		var no *gitverify.Refusal
		if !errors.Is(err, gitverify.ErrObjectMissing) || errors.As(err, &no) || !strings.Contains(err.Error(), "the history is not complete") {
			t.Errorf("got %v", err)
		}
	}
}

func TestOneAnchorsHistoryProvesNothingForAnother(t *testing.T) { // rule T1
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	tip := r.commit("tip", files("a", "1"), anchor)
	other := r.put("commit", unsigned(r.tree(files("b", "1")), "another anchor"))
	v := r.verifier()
	r.wantYes(v, request(anchor, tip))
	r.wantNo(v, request(other, tip), "hist/non-descendant", tip)
	r.wantYes(v, request(other, r.commit("its own", files("b", "1"), other)))
	r.wantYes(v, request(anchor, tip))
}

func TestMoreAttacksOnCommitAndPolicy(t *testing.T) {
	t.Parallel()
	runAttacks(t, []attack{
		{"A06", "one parent twice", "obj/malformed", func(s scene) outcome {
			return alone(s.commit("merge", files(), s.anchor, s.anchor), s.commit("merge", files(), s.anchor, s.signed(honest)))
		}},
		{"C16", "symlink that holds the very bytes of the policy", "policy/invalid", func(s scene) outcome {
			return alone(s.commit("link", files(policyPath, "", "120000 "+policyPath, policyFile(1)), s.anchor), s.signed(honest))
		}},
	})
}

// boundless is a store that does not look at the limit.
type boundless struct{ *repository }

func (b boundless) Object(ctx context.Context, id gitverify.ID, _ int64) (string, []byte, error) {
	return b.repository.Object(ctx, id, math.MaxInt64)
}

func TestAStoreThatIgnoresTheLimitDoesNotLiftIt(t *testing.T) { // row A25
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	large := r.put("commit", append(r.sign(unsigned(r.tree(files()), "large", anchor), honest), bytes.Repeat([]byte("x\n"), 1<<20)...))
	_, err := r.verifier().Verify(t.Context(), boundless{r}, request(anchor, large))
	var no *gitverify.Refusal
	if !errors.As(err, &no) || no.Code != "limits/commit-size" {
		t.Errorf("got %v", err)
	}
}
