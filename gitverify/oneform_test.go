package gitverify

import (
	"bytes"
	"encoding/base64"
	"encoding/pem"
	"slices"
	"strings"
	"testing"

	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// The tests in this file hand each reader a form that only one of its conditions
// keeps out, and look at its own words: behind it other readers would refuse most
// of these forms too, with other words or the same code.

// node is a DER value that can be changed and written again.
type node struct {
	tag   byte
	value []byte
	parts []*node
}

func parseNode(t testing.TB, der []byte) *node {
	t.Helper()
	var content cryptobyte.String
	var tag asn1.Tag
	rest := cryptobyte.String(der)
	if !rest.ReadAnyASN1(&content, &tag) || !rest.Empty() {
		t.Fatalf("not one DER value: % x", der[:min(len(der), 20)])
	}
	n := &node{tag: byte(tag)}
	if n.tag&0x20 == 0 {
		n.value = bytes.Clone(content)
		return n
	}
	for !content.Empty() {
		var whole cryptobyte.String
		if !content.ReadAnyASN1Element(&whole, &tag) {
			t.Fatal("not DER")
		}
		n.parts = append(n.parts, parseNode(t, whole))
	}
	return n
}

func (n *node) der() []byte {
	parts := [][]byte{n.value}
	for _, p := range n.parts {
		parts = append(parts, p.der())
	}
	return encodeDER(asn1.Tag(n.tag), parts...)
}

func (n *node) at(path ...int) *node {
	for _, i := range path {
		n = n.parts[i]
	}
	return n
}

func wantWords(t *testing.T, name string, err error, words string) {
	t.Helper()
	switch {
	case words == "" && err != nil:
		t.Errorf("%s: %v", name, err)
	case words != "" && (err == nil || !strings.Contains(err.Error(), words)):
		t.Errorf("%s: got %v, want %q", name, err, words)
	}
}

func TestArmourHasOneForm(t *testing.T) { // row A10
	t.Parallel()
	der := bytes.Repeat([]byte{7}, 2*48) // two full lines
	whole := string(pem.EncodeToMemory(&pem.Block{Type: "SIGNED MESSAGE", Bytes: der}))
	line := base64.StdEncoding.EncodeToString(der[:48]) + "\n"
	const lines, base = "not one canonical PEM block", "not canonical base64"
	for name, c := range map[string]struct{ body, words string }{
		"as it should be":           {line + line, ""},
		"an empty line at the end":  {line + "\n", lines},
		"a line too long":           {line[:64] + "BwcH\n", lines},
		"a short line before":       {"BwcH\n" + line, lines},
		"a carriage return":         {line + "BwcH\r\n", base},
		"padding before the end":    {line[:60] + "Bw==\n" + line, base},
		"bits behind the last byte": {line + "Bx==\n", base},
		"no line end":               {line + line[:64], "not one"},
	} {
		armored := strings.Replace(whole, line+line, c.body, 1)
		_, err := decodePEM([]byte(armored))
		wantWords(t, name, err, c.words)
	}
	_, err := decodePEM(bytes.Repeat([]byte{'x'}, maxSignature+1))
	wantWords(t, "too large", err, "more than")
}

func TestATimestampHasOneForm(t *testing.T) { // row B13
	t.Parallel()
	o := sigstoretest.SignOptions{Stamp: true}
	s := newSketch(t, o)
	v := s.verifier(nil)
	good := s.evidence().token
	// ContentInfo: type, [0] SignedData: version, digests, content, certificates, signers.
	edit := func(change func(data *node)) []byte {
		n := parseNode(t, good)
		change(n.at(1, 0))
		return n.der()
	}
	if n := parseNode(t, good).at(1, 0); len(n.parts) != 5 || len(n.at(4, 0).parts) != 6 || !bytes.Equal(parseNode(t, good).der(), good) {
		t.Fatal("the token of this test's authority has other parts")
	}
	signer := func(change func(info *node)) []byte { return edit(func(data *node) { change(data.at(4, 0)) }) }
	content := func(change func(info *node)) []byte {
		return edit(func(data *node) {
			inner := parseNode(t, data.at(2, 1, 0).value)
			change(inner)
			data.at(2, 1, 0).value = inner.der()
		})
	}
	const unusual, cannot = "names its algorithms in an unusual way", "the timestamp cannot be read"
	for name, c := range map[string]struct {
		token []byte
		words string
	}{
		"as it should be":           {good, ""},
		"another content":           {edit(func(d *node) { d.at(2, 0).value = []byte(oidData) }), "not signed data that holds a timestamp"},
		"another kind of CMS":       {func() []byte { n := parseNode(t, good); n.at(0).value = []byte(oidData); return n.der() }(), "not signed data that holds"},
		"another version":           {edit(func(d *node) { d.at(0).value = []byte{1} }), "not signed data that holds"},
		"no certificates in a list": {edit(func(d *node) { d.at(3).parts = nil }), "certificates in the timestamp cannot be read"},
		"two signers":               {edit(func(d *node) { d.at(4).parts = append(d.at(4).parts, d.at(4, 0)) }), "not exactly one signer"},
		"no signer":                 {edit(func(d *node) { d.at(4).parts = nil }), "not exactly one signer"},
		"more in the signer's name": {signer(func(i *node) { i.at(1).parts = append(i.at(1).parts, i.at(0)) }), "signer cannot be read"},
		"a signer of version 3":     {signer(func(i *node) { i.at(0).value = []byte{3} }), "another version than RFC 3161"},
		"unsigned attributes":       {signer(func(i *node) { i.parts = append(i.parts, &node{tag: 0xa1, parts: i.at(3).parts}) }), "unsigned attributes"},
		"two digests":               {edit(func(d *node) { d.at(1).parts = append(d.at(1).parts, d.at(1, 0)) }), unusual},
		"two different digests":     {edit(func(d *node) { *d.at(1, 0) = *parseNode(t, []byte(algorithmSHA384)) }), unusual},
		"no signed attributes":      {signer(func(i *node) { i.parts = slices.Delete(i.parts, 3, 4) }), "attributes are not in canonical order"},
		"attributes out of order":   {signer(func(i *node) { slices.Reverse(i.at(3).parts) }), "attributes are not in canonical order"},
		"content of version 2":      {content(func(i *node) { i.at(0).value = []byte{2} }), cannot},
		"content without a time":    {content(func(i *node) { i.parts = i.parts[:4] }), cannot},
		"a time that is none":       {content(func(i *node) { i.at(4).value = []byte("yesterday") }), "the timestamp's time cannot be read"},
	} {
		_, err := readToken(c.token, v.trusted)
		wantWords(t, name, err, c.words)
	}
}

func signingTime(t *token) *attribute {
	i := slices.IndexFunc(t.attributes, func(a attribute) bool { return a.kind == oidSigningTime })
	if i < 0 {
		panic("the token of this test's authority has no signing time")
	}
	return &t.attributes[i]
}

func TestATimestampIsForThisSignatureByAnAuthorityThatMayStamp(t *testing.T) { // row B13
	t.Parallel()
	s := newSketch(t, sigstoretest.SignOptions{Stamp: true})
	v, ev := s.verifier(nil), s.evidence()
	good := *ev.stamp
	_, _, err := v.trusted.stamped(good, ev.signature)
	wantWords(t, "as it should be", err, "")
	with := func(change func(*token)) token {
		other := good
		other.attributes = slices.Clone(good.attributes)
		change(&other)
		return other
	}
	for name, c := range map[string]struct {
		token token
		words string
	}{
		"an unknown digest of nothing": {with(func(t *token) { t.hash, t.imprint = "md5", nil }), "for something else"},
		"of something else":            {with(func(t *token) { t.imprint = bytes.Repeat([]byte{1}, 32) }), "for something else"},
		"by nobody that is known":      {with(func(t *token) { t.signer.issuer = nil }), "does not verify"},
		"a signing time that is none":  {with(func(t *token) { signingTime(t).value = []byte{5, 0} }), "does not verify"},
		"a signing time and more": {with(func(t *token) {
			when := signingTime(t)
			when.value = slices.Concat(when.value, []byte{5, 0})
		}), "does not verify"},
		"another algorithm": {with(func(t *token) { t.signer.signatureAlgorithm = []byte("sum") }), "does not verify"},
	} {
		_, _, err := v.trusted.stamped(c.token, ev.signature)
		wantWords(t, name, err, c.words)
	}
	stamper := &v.trusted.stampers[0]
	others := slices.DeleteFunc(slices.Clone(stamper.certificates), func(c []byte) bool { return bytes.Equal(c, stamper.leaf.Raw) })
	for name, c := range map[string]struct {
		carried [][]byte
		want    bool
	}{
		"none": {nil, true}, "the leaf": {[][]byte{stamper.leaf.Raw}, true}, "all": {stamper.certificates, true},
		"all but the leaf": {others, false}, "a stranger's beside the leaf": {[][]byte{stamper.leaf.Raw, ev.leaf.Raw}, false},
	} {
		var list []cryptobyte.String
		for _, raw := range c.carried {
			list = append(list, raw)
		}
		if stamper.fits(list) != c.want {
			t.Errorf("%s: fits %v", name, !c.want)
		}
	}
}

func TestACheckpointHasOneForm(t *testing.T) { // row B19
	t.Parallel()
	sum := bytes.Repeat([]byte{9}, 32)
	root := base64.StdEncoding.EncodeToString(sum)
	const key = "AAAABBBBCCCC"
	proof := func(envelope string, hash []byte) *rekorpb.InclusionProof {
		return &rekorpb.InclusionProof{TreeSize: 5, RootHash: hash, Checkpoint: &rekorpb.Checkpoint{Envelope: envelope}}
	}
	const size, origin, one = "for another size or root", "not signed by its origin", "not exactly one canonical signature"
	for name, c := range map[string]struct {
		envelope string
		hash     []byte
		words    string
	}{
		"as it should be":         {"log.test - 12\n5\n" + root + "\n\n\u2014 log.test " + key + "\n", sum, ""},
		"no signature":            {"log.test - 12\n5\n" + root + "\n\u2014 log.test " + key + "\n", sum, "not a signed note"},
		"two lines":               {"log.test - 12\n5\n\n\u2014 log.test " + key + "\n", sum, "no origin, size and root"},
		"another size":            {"log.test - 12\n6\n" + root + "\n\n\u2014 log.test " + key + "\n", sum, size},
		"another root":            {"log.test - 12\n5\n" + root + "\n\n\u2014 log.test " + key + "\n", bytes.Repeat([]byte{8}, 32), size},
		"a short root":            {"log.test - 12\n5\nCQkJ\n\n\u2014 log.test " + key + "\n", []byte{9, 9, 9}, size},
		"a root that is cut":      {"log.test - 12\n5\n" + root + "CQkJ!\n\n\u2014 log.test " + key + "\n", slices.Concat(sum, []byte{9, 9}), size},
		"a root and more":         {"log.test - 12\n5\n" + root + "!\n\n\u2014 log.test " + key + "\n", sum, size},
		"another signer":          {"log.test - 12\n5\n" + root + "\n\n\u2014 other.test " + key + "\n", sum, origin},
		"a tree of letters":       {"log.test - 12a\n5\n" + root + "\n\n\u2014 log.test " + key + "\n", sum, origin},
		"no tree":                 {"log.test\n5\n" + root + "\n\n\u2014 log.test " + key + "\n", sum, origin},
		"a space in the name":     {"log test - 12\n5\n" + root + "\n\n\u2014 log test " + key + "\n", sum, origin},
		"no base64":               {"log.test - 12\n5\n" + root + "\n\n\u2014 log.test " + key + "!!!!\n", sum, one},
		"a hint and nothing":      {"log.test - 12\n5\n" + root + "\n\n\u2014 log.test AAAAAA==\n", sum, one},
		"no line end":             {"log.test - 12\n5\n" + root + "\n\n\u2014 log.test " + key, sum, one},
		"two signatures":          {"log.test - 12\n5\n" + root + "\n\n\u2014 log.test " + key + "\n\u2014 log.test " + key + "\n", sum, one},
		"a line inside of base64": {"log.test - 12\n5\n" + root + "\n\n\u2014 log.test AAAA\nBBBBCCCC\n", sum, one},
	} {
		_, err := readCheckpoint(proof(c.envelope, c.hash))
		wantWords(t, name, err, c.words)
	}
}

func TestALogEntryThatCannotBeReadOrHasNoPlaceIsRefused(t *testing.T) { // row B15
	t.Parallel()
	s := newSketch(t, sigstoretest.SignOptions{})
	v, ev := s.verifier(nil), s.evidence()
	sig := ev.cmsSignature
	for name, c := range map[string]struct {
		entry []byte
		words string
	}{
		"as it should be": {sig.entry, ""},
		"cut":             {sig.entry[:len(sig.entry)-1], "cannot be decoded"},
		"a field twice":   {slices.Concat([]byte{0x08, 0x01, 0x08, 0x01}, sig.entry), "not encoded canonically"},
		"unknown field":   {slices.Concat(sig.entry, []byte{0xf8, 0x3f, 0x01}), "not encoded canonically"},
	} {
		other := sig
		other.entry = c.entry
		_, err := other.logEntry()
		wantWords(t, name, err, c.words)
	}
	for name, change := range map[string]func(*rekorpb.InclusionProof){
		"before the first": func(p *rekorpb.InclusionProof) { p.LogIndex = -1 },
		"an empty log":     func(p *rekorpb.InclusionProof) { p.TreeSize = 0 },
	} {
		e, err := sig.logEntry()
		if err != nil {
			t.Fatal(err)
		}
		change(e.InclusionProof)
		_, err = v.trusted.logged(e)
		wantWords(t, name, err, "for no place in a log")
	}
}
