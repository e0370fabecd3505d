package gitverify_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/github/smimesign/ietf-cms/oid"
	"github.com/github/smimesign/ietf-cms/protocol"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// TestAttacksThatMutantsShowed has the forms that only one condition keeps out.
func TestAttacksThatMutantsShowed(t *testing.T) {
	t.Parallel()
	const author, committer = "author A U Thor <author@example.test> 1700000000 +0000\n", "committer C O Mitter <committer@example.test> 1700000000 +0000\n"
	runAttacks(t, []attack{
		malformed("A06", "no author", "obj/malformed", author, ""),
		malformed("A06", "no committer", "obj/malformed", committer, ""),
		malformed("A20", "carriage return in a name", "obj/malformed", "A U Thor", "A U\rThor"),
		edit("A10", "no line end before the last line", "sig/encoding", func(s scene, signed []byte) []byte {
			return s.replaceOnce(signed, "\n -----END", "-----END")
		}),
		edit("A10", "empty line before the last line", "sig/encoding", func(s scene, signed []byte) []byte {
			return s.replaceOnce(signed, "\n -----END", "\n \n -----END")
		}),
		edit("A10", "no first line", "sig/encoding", func(s scene, signed []byte) []byte {
			return s.replaceOnce(signed, "gpgsig -----BEGIN SIGNED MESSAGE-----\n ", "gpgsig ")
		}),
		edit("A10", "no last line", "sig/encoding", func(s scene, signed []byte) []byte {
			return s.replaceOnce(signed, "\n -----END SIGNED MESSAGE-----\n", "\n")
		}),
		{"A10", "empty line after a last line that is full", "sig/encoding", func(s scene) outcome {
			for i := range 2000 { // some signatures end with a full line
				signed := s.sign(unsigned(s.tree(files("a", "1")), fmt.Sprint(i), s.anchor), honest)
				before, _, _ := strings.Cut(string(signed), "\n -----END")
				if len(before)-strings.LastIndexByte(before, '\n') == 1+1+64 {
					return alone(s.put("commit", s.replaceOnce(signed, "\n -----END", "\n \n -----END")), s.put("commit", signed))
				}
			}
			s.t.Fatal("no signature ends with a full line")
			return outcome{}
		}},
		signing("A15", "signing time that is none", "sig/attributes", sigstoretest.SignOptions{
			EditSignedAttrs: func(a protocol.Attributes) protocol.Attributes {
				i := slices.IndexFunc(a, func(a protocol.Attribute) bool { return a.Type.Equal(oid.AttributeSigningTime) })
				when, err := protocol.NewAttribute(oid.AttributeSigningTime, "yesterday")
				if err != nil {
					panic(err)
				}
				a = slices.Clone(a)
				a[i] = when
				slices.SortFunc(a, func(x, y protocol.Attribute) int { return bytes.Compare(x.RawValue.FullBytes, y.RawValue.FullBytes) })
				return a
			},
		}),
	})
}

func TestAForgeMergeWhoseSignatureIsForOtherBytesIsRefused(t *testing.T) { // row A03
	t.Parallel()
	for _, kind := range []string{"pgp", "ssh"} {
		s := newForgeScene(t, kind)
		docs := s.with("docs/x", "1")
		good := s.merge(docs, s.anchor, s.by("bob", approveMain, docs, s.by("alice", "c", docs, s.anchor)))
		bad := s.put("commit", bytes.Replace(s.objects[good].body, []byte("\n\nmerge"), []byte("\n\nmerged"), 1))
		s.wantNo(s.verifier(), request(s.anchor, bad), "sig/invalid", bad)
		s.wantYes(s.verifier(), request(s.anchor, good))
	}
}

func TestAForgeMayNotMergeTwoChangesOfTheTrustFolder(t *testing.T) { // rule T6
	t.Parallel()
	s := newForgeScene(t, "ssh")
	const one, two = "factory-config/trust/one", "factory-config/trust/two"
	land := func(tree map[string]string) gitverify.ID {
		return s.by("bob", approveMain, tree, s.by("alice", "c", tree, s.anchor))
	}
	main, side := land(s.with(one, "1")), land(s.with(two, "1"))
	both := s.with(one, "1", two, "1")
	bad := s.merge(both, main, side)
	s.wantNo(s.verifier(), request(s.anchor, bad), "forge/content", bad)
	elsewhere := s.with("docs/x", "1")
	s.wantYes(s.verifier(), request(s.anchor, s.merge(s.with(one, "1", "docs/x", "1"), main, land(elsewhere))))
}

func TestAForgeMayNotMergeACrissCross(t *testing.T) { // row C06
	t.Parallel()
	s := newForgeScene(t, "pgp")
	land := func(tree map[string]string) gitverify.ID {
		return s.by("bob", approveMain, tree, s.by("alice", "c", tree, s.anchor))
	}
	main, side := land(s.with("docs/x", "1")), land(s.with("docs/y", "1"))
	both := s.with("docs/x", "1", "docs/y", "1")
	ours, theirs := s.by("bob", "merge", both, main, side), s.by("bob", "merge", both, side, main)
	bad := s.merge(both, ours, theirs)
	s.wantNo(s.verifier(), request(s.anchor, bad), "forge/content", bad)
	s.wantYes(s.verifier(), request(s.anchor, s.by("bob", "merge", both, ours, theirs)))
}
