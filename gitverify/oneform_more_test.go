package gitverify

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	stdasn1 "encoding/asn1"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte/asn1"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// prefixed is a value of TLS with its length in 16 bits before it.
func prefixed(b ...[]byte) []byte {
	all := slices.Concat(b...)
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(all))), all...)
}

func TestThePromisesOfCertificateLogsHaveOneForm(t *testing.T) { // row B18
	t.Parallel()
	one := slices.Concat([]byte{0}, make([]byte, 32+8), prefixed(), []byte{4, 3}, prefixed([]byte("signature")))
	list := func(n int) []byte { return prefixed(bytes.Repeat(prefixed(one), n)) }
	for name, c := range map[string]struct {
		value []byte
		want  int
	}{
		"one":                        {encodeDER(asn1.OCTET_STRING, list(1)), 1},
		"as many as are looked at":   {encodeDER(asn1.OCTET_STRING, list(maxSCTs)), maxSCTs},
		"one more":                   {encodeDER(asn1.OCTET_STRING, list(maxSCTs+1)), -1},
		"another type":               {encodeDER(asn1.UTF8String, list(1)), -1},
		"bytes behind the value":     {append(encodeDER(asn1.OCTET_STRING, list(1)), 0), -1},
		"bytes behind the list":      {encodeDER(asn1.OCTET_STRING, list(1), []byte{0}), -1},
		"bytes behind a promise":     {encodeDER(asn1.OCTET_STRING, prefixed(prefixed(one, []byte{0}))), -1},
		"a promise of version 2":     {encodeDER(asn1.OCTET_STRING, prefixed(prefixed([]byte{1}, one[1:]))), -1},
		"a promise that is cut":      {encodeDER(asn1.OCTET_STRING, prefixed(prefixed(one[:20]))), -1},
		"a length that is not there": {encodeDER(asn1.OCTET_STRING, prefixed([]byte{0, 90, 1})), -1},
	} {
		got, ok := readSCTs(c.value)
		if ok != (c.want >= 0) || ok && len(got) != c.want {
			t.Errorf("%s: %d promises, %v", name, len(got), ok)
		}
	}
}

func TestAPromiseCountsByItsLogItsKeyAndItsAlgorithm(t *testing.T) { // row B18
	t.Parallel()
	s := newSketch(t, sigstoretest.SignOptions{})
	v, ev := s.verifier(nil), s.evidence()
	issuerKey, _, err := v.trusted.issued(ev.leaf, []time.Time{s.virtual.Now()})
	if err != nil {
		t.Fatal(err)
	}
	without := func(change func(*x509.Certificate)) *x509.Certificate {
		c := *ev.leaf
		c.Extensions = slices.Clone(c.Extensions)
		change(&c)
		return &c
	}
	isSCT := func(e pkix.Extension) bool { return e.Id.Equal(sctsOID()) }
	for name, c := range map[string]struct {
		leaf  *x509.Certificate
		words string
	}{
		"as it should be": {ev.leaf, ""},
		"no promise":      {without(func(c *x509.Certificate) { c.Extensions = slices.DeleteFunc(c.Extensions, isSCT) }), "carries no promise"},
		"promises that cannot be read": {without(func(c *x509.Certificate) {
			c.Extensions[slices.IndexFunc(c.Extensions, isSCT)].Value = []byte{4, 0}
		}), "cannot be read"},
		"a certificate that cannot be read": {without(func(c *x509.Certificate) { c.RawTBSCertificate = []byte{0x30, 1} }), "cannot be read"},
		"another certificate":               {without(func(c *x509.Certificate) { c.RawTBSCertificate = v.trusted.stampers[0].leaf.RawTBSCertificate }), "no certificate log of the trusted root"},
	} {
		_, err := v.trusted.recorded(c.leaf, issuerKey)
		wantWords(t, name, err, c.words)
	}
	keyless := &anchors{certificateLogs: map[string]*logKey{}}
	for id, log := range v.trusted.certificateLogs {
		keyless.certificateLogs[id] = &logKey{window: log.window, name: log.name}
	}
	if _, err := keyless.recorded(ev.leaf, issuerKey); !errors.Is(err, errBeyond) {
		t.Errorf("a log whose key is beyond us: %v", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("signed"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	for algorithm, want := range map[uint8]bool{3: true, 1: false} {
		if got := (sct{hash: 4, algorithm: algorithm, signature: signature}).verify(&key.PublicKey, []byte("signed")); got != want {
			t.Errorf("algorithm %d: %v", algorithm, got)
		}
	}
}

func TestOnlyACertificateForTimestampsMayStamp(t *testing.T) { // row B13, RFC 3161 §2.3
	t.Parallel()
	usage := func(critical bool) []pkix.Extension {
		return []pkix.Extension{{Id: stdasn1.ObjectIdentifier{2, 5, 29, 37}, Critical: critical}}
	}
	stamping := []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}
	for name, c := range map[string]struct {
		leaf x509.Certificate
		want bool
	}{
		"as it should be":     {x509.Certificate{Extensions: usage(true), ExtKeyUsage: stamping}, true},
		"not critical":        {x509.Certificate{Extensions: usage(false), ExtKeyUsage: stamping}, false},
		"critical in another": {x509.Certificate{Extensions: append(usage(false), pkix.Extension{Id: sanOID(), Critical: true}), ExtKeyUsage: stamping}, false},
		"an authority":        {x509.Certificate{Extensions: usage(true), ExtKeyUsage: stamping, IsCA: true}, false},
		"also something else": {x509.Certificate{Extensions: usage(true), ExtKeyUsage: append(stamping, x509.ExtKeyUsageCodeSigning)}, false},
		"also something unknown": {x509.Certificate{
			Extensions: usage(true), ExtKeyUsage: stamping,
			UnknownExtKeyUsage: []stdasn1.ObjectIdentifier{{1, 2, 3}},
		}, false},
		"for code": {x509.Certificate{Extensions: usage(true), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}, false},
	} {
		if mayStamp(&c.leaf) != c.want {
			t.Errorf("%s: %v", name, !c.want)
		}
	}
}

func TestACertificateNamesOnePersonInOneWay(t *testing.T) { // row B05
	t.Parallel()
	name := func(tag byte, value string) []byte { return encodeDER(asn1.Tag(tag), []byte(value)) }
	san := func(names ...[]byte) pkix.Extension {
		return pkix.Extension{Id: sanOID(), Value: encodeDER(asn1.SEQUENCE, names...)}
	}
	issuer := pkix.Extension{Id: issuerOID(), Value: []byte("https://accounts.test")}
	newer := func(value []byte) pkix.Extension { return pkix.Extension{Id: issuerV2OID(), Value: value} }
	mail := san(name(0x81, "alice@factory.test"))
	for what, c := range map[string]struct {
		extensions []pkix.Extension
		words      string
	}{
		"an address":               {[]pkix.Extension{issuer, mail}, ""},
		"a URI":                    {[]pkix.Extension{issuer, san(name(0x86, "spiffe://factory.test/a"))}, ""},
		"no name":                  {[]pkix.Extension{issuer}, "names no subject"},
		"two names":                {[]pkix.Extension{issuer, san(name(0x81, "a@b"), name(0x81, "c@d"))}, "not exactly one"},
		"a host":                   {[]pkix.Extension{issuer, san(name(0x82, "factory.test"))}, "not exactly one"},
		"the tag of another class": {[]pkix.Extension{issuer, san(name(0x41, "alice@factory.test"))}, "not exactly one"},
		"names that are cut":       {[]pkix.Extension{issuer, {Id: sanOID(), Value: []byte{0x30, 9, 1}}}, "cannot be read"},
		"bytes behind the names":   {[]pkix.Extension{issuer, {Id: sanOID(), Value: append(slices.Clone(mail.Value), 5, 0)}}, "cannot be read"},
		"the issuer in both":       {[]pkix.Extension{issuer, newer(encodeDER(asn1.UTF8String, issuer.Value)), mail}, ""},
		"two issuers":              {[]pkix.Extension{issuer, newer(encodeDER(asn1.UTF8String, []byte("https://other.test"))), mail}, "names two issuers"},
		"an issuer behind another": {[]pkix.Extension{newer(append(encodeDER(asn1.UTF8String, issuer.Value), 5, 0)), mail}, "issuer cannot be read"},
		"no issuer":                {[]pkix.Extension{mail}, "names no issuer"},
	} {
		_, err := claimedIdentity(&x509.Certificate{Extensions: c.extensions})
		wantWords(t, what, err, c.words)
	}
}

func TestConstraintsOnNamesAreNotDecidedHere(t *testing.T) { // row B25
	t.Parallel()
	a := &anchors{}
	for _, last := range []int{30, 33, 36, 54} {
		leaf := &x509.Certificate{Extensions: []pkix.Extension{{Id: stdasn1.ObjectIdentifier{2, 5, 29, last}}}}
		if _, _, err := a.issued(leaf, nil); !errors.Is(err, errBeyond) {
			t.Errorf("2.5.29.%d: %v", last, err)
		}
	}
}

func TestObjectsAndTreesHaveOneForm(t *testing.T) { // rows A06, A20, D04
	t.Parallel()
	id := strings.Repeat("ab", 20)
	for _, bad := range []ID{"", ID(id[1:]), ID(strings.ToUpper(id)), ID(id + "0"), "../" + ID(id[3:])} {
		if _, err := (objectReader{}).read(t.Context(), bad, "commit", 1, ""); err == nil || !strings.Contains(err.Error(), "not a full object name") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	entry := func(mode, name string) string { return mode + " " + name + "\x00" + strings.Repeat("i", idSize) }
	const short = "cut short"
	for name, c := range map[string]struct{ body, words string }{
		"as it should be":     {entry("100644", "a") + entry("40000", "b"), ""},
		"a name of 255 bytes": {entry("100644", strings.Repeat("n", 255)), ""},
		"a name of 256 bytes": {entry("100644", strings.Repeat("n", 256)), "an entry is named"},
		"no end of the name":  {"100644 " + strings.Repeat("n", 40), short},
		"no name":             {"100644\x00" + strings.Repeat("i", idSize), short},
		"a short id":          {"100644 a\x00" + strings.Repeat("i", idSize-1), short},
		"one file twice":      {entry("100644", "a") + entry("100755", "a"), `two entries named "a"`},
		"file and folder":     {entry("100644", "a") + entry("100644", "a.b") + entry("40000", "a"), `two entries named "a"`},
		"out of order":        {entry("100644", "b") + entry("100644", "a"), "out of order"},
	} {
		_, err := parseTree([]byte(c.body))
		wantWords(t, name, err, c.words)
	}
	const head, people = "tree ", "author A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n"
	tree := head + id + "\n"
	const missing, place = "author or committer is not there", "in the wrong place or twice"
	for name, c := range map[string]struct{ body, words string }{
		"as it should be":       {tree + people + "\nm", ""},
		"no end of the headers": {tree + people, "no empty line after the headers"},
		"nothing but headers":   {strings.TrimSuffix(tree+people, "\n"), "no empty line after the headers"},
		"no tree":               {people + "\nm", place},
		"a parent first":        {"parent " + id + "\n" + people + "\nm", place},
		"no author":             {tree + "committer A <a@b> 1 +0000\n\nm", missing},
		"a tree in two lines":   {head + id + "\n more\n" + people + "\nm", "has continuation lines"},
		"an author in two":      {tree + "author A\n B <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nm", "has continuation lines"},
	} {
		_, err := splitCommit([]byte(c.body))
		wantWords(t, name, err, c.words)
	}
}
