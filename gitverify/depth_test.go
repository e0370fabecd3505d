package gitverify

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"golang.org/x/crypto/cryptobyte/asn1"
	"google.golang.org/protobuf/proto"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/gitverify/trustpolicy"
)

// The conditions below are each asked alone: on the way from a commit another one
// comes before them, or says the same no.

func TestAListOfUnsignedAttributesIsThereOnlyWithSomethingInIt(t *testing.T) { // row A10
	t.Parallel()
	entry := func() []byte {
		return encodeDER(asn1.SEQUENCE, encodeDER(asn1.OBJECT_IDENTIFIER, []byte(oidLogEntry)),
			encodeDER(asn1.SET, encodeDER(asn1.OCTET_STRING, []byte("entry"))))
	}
	const canonical = "not in canonical order"
	for name, c := range map[string]struct {
		list  []byte
		words string
	}{
		"no list":          {nil, ""},
		"an entry":         {encodeDER(explicit(1), entry()), ""},
		"an empty list":    {encodeDER(explicit(1)), canonical},
		"half an entry":    {encodeDER(explicit(1), entry()[:9]), canonical},
		"the entry twice":  {encodeDER(explicit(1), entry(), entry()), "is unknown or there twice"},
		"a list that ends": {encodeDER(explicit(1), entry())[:9], canonical},
	} {
		wantWords(t, name, new(cmsSignature).takeEvidence(c.list), c.words)
	}
}

func TestATimeIsOneValue(t *testing.T) { // row B13
	t.Parallel()
	when := encodeDER(asn1.GeneralizedTime, []byte("20260501120000Z"))
	for name, c := range map[string]struct {
		value []byte
		want  bool
	}{
		"a time": {when, true}, "nothing": {nil, false}, "a number": {[]byte{2, 1, 9}, false}, "a time and more": {append(when, 5, 0), false},
	} {
		if at, ok := readTime(c.value); ok != c.want || ok && !at.Equal(virtualNow) {
			t.Errorf("%s: %s, %v", name, at, ok)
		}
	}
}

func TestWhoCountsIsAPersonThatThePolicyListsWithTheRole(t *testing.T) { // rules T2, T5
	t.Parallel()
	policy := &trustpolicy.Policy{Identities: []trustpolicy.Identity{
		{Name: "alice", Person: "alice", Issuer: "i", Subject: "alice@x", Roles: []string{"maintainer"}},
		{Name: "bob", Person: "bob", Issuer: "i", Subject: "bob@x", Roles: []string{"guest"}},
		{Name: "robot", Issuer: "i", Subject: "robot@x", Roles: []string{"maintainer"}},
	}}
	d := demand{rule: &trustpolicy.Rule{Role: "maintainer"}, policy: policy}
	for subject, want := range map[string]string{"alice@x": "alice", "bob@x": "", "robot@x": "", "mallory@x": ""} {
		who, counts := d.person(&record{proof: proof{certified: certified{issuer: "i", subject: subject}}})
		if who != want || counts != (want != "") {
			t.Errorf("%s: %q, %v", subject, who, counts)
		}
	}
}

func TestTheSignersCertificateIsAmongThoseThatCanBeRead(t *testing.T) { // row A12
	t.Parallel()
	s := newSketch(t, sigstoretest.SignOptions{})
	ev := s.evidence()
	info := signerInfo{issuer: ev.leaf.RawIssuer, serial: ev.leaf.SerialNumber}
	for name, c := range map[string]struct {
		set   []byte
		words string
	}{
		"its own":         {ev.leaf.Raw, ""},
		"none":            {nil, "carries no certificate"},
		"cut":             {ev.leaf.Raw[:9], "no canonical set"},
		"one and a piece": {append(slices.Clip(ev.leaf.Raw), 0x30), "no canonical set"},
		"no certificate":  {encodeDER(asn1.SEQUENCE), "a certificate cannot be read"},
	} {
		_, err := signerCertificate(c.set, info)
		wantWords(t, name, err, c.words)
	}
}

func TestAnAuthorityDidNotIssueItself(t *testing.T) { // row B25
	t.Parallel()
	s := newSketch(t, sigstoretest.SignOptions{})
	v, leaf := s.verifier(nil), s.evidence().leaf
	asked := 0
	for _, ca := range v.trusted.authorities {
		for _, i := range ca.issuers {
			asked++
			if issuedBy(i.cert, &i, virtualNow) {
				t.Errorf("%s issued itself", i.cert.Subject)
			}
		}
	}
	if _, _, err := v.trusted.issuerAt(leaf, virtualNow, nil); err != nil || asked == 0 {
		t.Errorf("of %d issuers none issued the signer's certificate: %v", asked, err)
	}
}

func TestANameOfNothingIsAskedOfNoOtherLibrary(t *testing.T) { // row B05
	t.Parallel()
	s := newSketch(t, sigstoretest.SignOptions{})
	v, ev := s.verifier(nil), s.evidence()
	_, err := v.referee.prove(ev)
	wantWords(t, "its twin", err, "")
	nameless := *ev.leaf
	nameless.Extensions = nil
	for _, e := range ev.leaf.Extensions {
		if e.Id.Equal(sanOID()) {
			e.Value = encodeDER(asn1.SEQUENCE, encodeDER(asn1.Tag(0x81)))
		}
		nameless.Extensions = append(nameless.Extensions, e)
	}
	ev.leaf = &nameless
	_, err = v.referee.prove(ev)
	wantWords(t, "an empty address", err, "the certificate's name cannot be used")
}

func TestEachBoundOfAComparisonHoldsAlone(t *testing.T) { // row C49
	t.Parallel()
	file := treeEntry{modeFile, "a", emptyTree}
	for name, c := range map[string]struct {
		comparison comparison
		words      string
	}{
		"the last path":         {comparison{changes: make([]change, maxChanges-1)}, ""},
		"one path more":         {comparison{changes: make([]change, maxChanges)}, "paths, or"},
		"the last byte of them": {comparison{pathBytes: maxPathBytes - 1}, ""},
		"one byte more":         {comparison{pathBytes: maxPathBytes}, "paths, or"},
	} {
		wantWords(t, name, c.comparison.record("a", file, treeEntry{}), c.words)
	}
	h := objectHeap{}
	dir := rootEntry(h.put("tree", bodyOfTree(file)))
	for name, c := range map[string]struct {
		entries, depth int
		words          string
	}{
		"the last entry": {maxEntries - 1, 0, ""}, "one entry more": {maxEntries, 0, "directory entries to compare"},
		"the last depth": {0, maxDepth - 1, ""}, "one level deeper": {0, maxDepth, "nested deeper"},
	} {
		walk := comparison{ctx: t.Context(), reader: objectReader{objects: h}, entries: c.entries}
		err := walk.below("d", c.depth, []treeEntry{dir, {}}, func(string, []treeEntry) error { return nil })
		wantWords(t, name, err, c.words)
	}
}

func TestOnlyARefusalOfThePolicySaysThatItStatesNoVersion(t *testing.T) { // rule T8
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"no policy":               {refuse(codePolicy, "the file is not there"), true},
		"a lockout":               {refuse(codeLockout, "no rule"), true},
		"bytes of another":        {refuse(codeHash, "other bytes"), false},
		"it could not be read":    {ErrObjectMissing, false},
		"nothing is wrong at all": {nil, false},
	} {
		if statesNone(c.err) != c.want {
			t.Errorf("%s: %v", name, !c.want)
		}
	}
}

func TestAUnitOfTooManyCommitsAndPathsIsNotLookedAt(t *testing.T) { // row C48
	t.Parallel()
	u := unitRange{members: make([]*record, maxStanding/64+1), paths: make([]string, 63*64)}
	_, err := (&walk{}).vouchers(t.Context(), u)
	wantWords(t, "one commit more", err, "change 4032 paths at once")
	if codeOf(err) != codeUnit {
		t.Errorf("got %v", err)
	}
}

func TestCertificatesAreOneCanonicalSet(t *testing.T) { // row A14
	t.Parallel()
	v := newSketch(t, sigstoretest.SignOptions{}).verifier(nil)
	signer := newSketch(t, sigstoretest.SignOptions{}).evidence().leaf
	other := v.trusted.authorities[0].issuers[0].cert
	info := signerInfo{issuer: signer.RawIssuer, serial: signer.SerialNumber}
	sets := [][]byte{slices.Concat(signer.Raw, other.Raw), slices.Concat(other.Raw, signer.Raw)}
	slices.SortFunc(sets, bytes.Compare)
	found, err := signerCertificate(sets[0], info)
	if err != nil || !found.Equal(signer) {
		t.Errorf("in order: %v", err)
	}
	_, err = signerCertificate(sets[1], info)
	wantWords(t, "the other way round", err, "no canonical set")
	_, err = signerCertificate(sets[0][:len(sets[0])-1], info)
	wantWords(t, "cut off", err, "no canonical set")
}

func TestACommitHasATreeAnAuthorAndACommitter(t *testing.T) { // row A02
	t.Parallel()
	const (
		tree   = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
		author = "author a <a@x> 1 +0000\n"
		by     = "committer a <a@x> 1 +0000\n"
	)
	for headers, words := range map[string]string{
		tree + author + by: "", author + by: "in the wrong place", tree + by: "is not there", tree + author: "is not there", tree: "is not there", "": "no empty line",
	} {
		_, err := splitCommit([]byte(headers + "\nmessage\n"))
		wantWords(t, headers, err, words)
	}
}

func TestASearchForMergeBasesEnds(t *testing.T) { // row C48
	t.Parallel()
	s := search{paints: make(map[ID]paint, maxPainted+1)}
	for i := range maxPainted + 1 {
		s.paints[ID(strconv.Itoa(i))] = ofA
	}
	wantWords(t, "one commit too many", s.visit(t.Context()), "commits between two sides of a merge")
}

func TestABoundIsABoundInAMergeToo(t *testing.T) { // row C49
	t.Parallel()
	file := func(content string) treeEntry { return treeEntry{modeFile, "a", ID(content)} }
	full := func() *comparison { return &comparison{pathBytes: maxPathBytes} }
	one, two, three := file(strings.Repeat("1", 40)), file(strings.Repeat("2", 40)), file(strings.Repeat("3", 40))
	wantWords(t, "a difference", full().diff("a", 0, one, two), "paths, or")
	wantWords(t, "one side changed it", full().merge("a", 0, [4]treeEntry{one, two, one, three}), "paths, or")
	wantWords(t, "both sides changed it", full().merge("a", 0, [4]treeEntry{one, two, three, two}), "paths, or")
	wantWords(t, "nothing to say", full().merge("a", 0, [4]treeEntry{one, two, one, two}), "")
}

func TestALogThatIsAwayIsNamedAsTheCause(t *testing.T) { // row B15
	t.Parallel()
	cause := errors.New("away")
	ask := inquiry{log: answers(func() ([][]byte, error) { return nil, cause })}
	if _, err := ask.find(t.Context(), newSketch(t, sigstoretest.SignOptions{}).evidence().cmsSignature); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

type answers func() ([][]byte, error)

func (a answers) Find(context.Context, Question) ([][]byte, error) { return a() }

func TestALogThatIsAwayWhileAProofIsMadeAgainLeavesTheQuestionOpen(t *testing.T) { // row B28
	t.Parallel()
	s := newSketch(t, sigstoretest.SignOptions{NoLogEntry: true})
	cause := errors.New("away")
	v := s.verifier(nil)
	_, err := v.prove(t.Context(), s.payload, s.armored, &inquiry{log: answers(func() ([][]byte, error) { return nil, cause })})
	if !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

func TestAPolicyThatIsNotThereIsToldFromOneThatIsNoFile(t *testing.T) {
	t.Parallel()
	h := objectHeap{}
	for name, c := range map[string]struct {
		entry treeEntry
		words string
	}{
		"nothing at its place": {treeEntry{modeFile, "other", h.put("blob", []byte("x"))}, "the file is not there"},
		"a link at its place":  {treeEntry{"120000", "policy", h.put("blob", []byte("x"))}, "not a regular file"},
	} {
		w := walk{reader: objectReader{objects: h}, options: Options{PolicyPath: "policy"}}
		_, _, err := w.policyOf(t.Context(), h.put("tree", bodyOfTree(c.entry)))
		wantWords(t, name, err, c.words)
	}
}

func TestANameThatOthersReadOtherwiseIsNobodys(t *testing.T) { // row B04
	t.Parallel()
	for subject, code := range map[string]string{
		"https://ci.factory.test/w": "",
		"HTTPS://ci.factory.test/w": codeSubject, // url.Parse makes the scheme small
	} {
		s := newSketch(t, sigstoretest.SignOptions{Subject: subject, EditCertificate: func(c *x509.Certificate) {
			name := encodeDER(asn1.SEQUENCE, encodeDER(asn1.Tag(0x80|tagURI), []byte(subject)))
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: sanOID(), Critical: true, Value: name})
		}})
		v, ev := s.verifier(nil), s.evidence()
		p, ours := v.trusted.prove(ev)
		_, theirs := v.referee.prove(ev)
		if codeOf(ours) != code || codeOf(theirs) != code || code == "" && p.subject != subject {
			t.Errorf("%s: we say %v of %q, sigstore-go says %v", subject, ours, p.subject, theirs)
		}
	}
}

func TestWhatSigstoreRefusesForNoReasonOfOursIsAnInvalidSignature(t *testing.T) { // decision 0004
	t.Parallel()
	s := newSketch(t, sigstoretest.SignOptions{})
	r, ev := s.verifier(nil).referee, s.evidence()
	b, err := newBundle(ev)
	if err != nil {
		t.Fatal(err)
	}
	for code, cause := range map[string]error{
		codeSubject:    fmt.Errorf("wrapped: %w", &verify.ErrNoMatchingCertificateIdentity{}),
		codeSigInvalid: errors.New("something else"),
	} {
		if err := r.diagnose(ev, b, cause); codeOf(err) != code {
			t.Errorf("%v: got %v, want %s", cause, err, code)
		}
	}
}

func TestAProofForNoPlaceIsNotOneThatDoesNotHold(t *testing.T) { // row B15
	t.Parallel()
	s := newSketch(t, sigstoretest.SignOptions{Stamp: true, NoPromise: true})
	r, ev := s.verifier(nil).referee, s.evidence()
	wantWords(t, "as it should be", r.explainProof(ev, nil), "")
	for name, change := range map[string]func(*rekorpb.InclusionProof){
		"before the first":  func(p *rekorpb.InclusionProof) { p.LogIndex = -1 },
		"of an empty log":   func(p *rekorpb.InclusionProof) { p.TreeSize = 0 },
		"of less than none": func(p *rekorpb.InclusionProof) { p.TreeSize = -1 },
	} {
		other := ev
		other.log.TransparencyLogEntry = proto.CloneOf(ev.log.TransparencyLogEntry)
		change(other.log.InclusionProof)
		err := r.explainProof(other, nil)
		wantWords(t, name, err, "for no place in a log")
		if codeOf(err) != codeProof {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestALogEntryIsOfTheOneKindAndVersionThatIsWritten(t *testing.T) { // row B15
	t.Parallel()
	good := newSketch(t, sigstoretest.SignOptions{}).evidence().log.TransparencyLogEntry
	for words, k := range map[string]*rekorpb.KindVersion{
		"":                               {Kind: "hashedrekord", Version: "0.0.1"},
		`"hashedrekord" version "0.0.2"`: {Kind: "hashedrekord", Version: "0.0.2"},
		`"intoto" version "0.0.1"`:       {Kind: "intoto", Version: "0.0.1"},
	} {
		other := proto.CloneOf(good)
		other.KindVersion = k
		_, err := checkEntry(other)
		wantWords(t, fmt.Sprint(k), err, words)
	}
}
