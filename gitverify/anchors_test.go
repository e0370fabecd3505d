package gitverify

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

func TestAnchorsCountOnlyWhileTheTrustedRootSaysSo(t *testing.T) { // row B28
	t.Parallel()
	tests := map[string]struct {
		part func(root object) object
		code string
	}{
		"the signatures' log":       {func(root object) object { return root.list("tlogs")[0].part("publicKey") }, codeLogUnknown},
		"the certificate authority": {func(root object) object { return root.list("certificateAuthorities")[0] }, codeUntrusted},
		"the certificates' log":     {func(root object) object { return root.list("ctlogs")[0].part("publicKey") }, codeSCT},
		"the timestamp authority":   {func(root object) object { return root.list("timestampAuthorities")[0] }, codeTSA},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSketch(t, sigstoretest.SignOptions{Stamp: true})
			ev := s.evidence()
			for _, c := range []struct {
				from, to time.Duration // of the part's window, from the time of signing
				yes      bool
			}{{-time.Hour, -2 * time.Second, false}, {2 * time.Second, time.Hour, false}, {-time.Hour, 2 * time.Second, true}, {-time.Hour, 0, true}} {
				v := s.verifier(func(root object) {
					window := map[string]any{"start": virtualNow.Add(c.from).Format(time.RFC3339)}
					if c.to != 0 {
						window["end"] = virtualNow.Add(c.to).Format(time.RFC3339)
					}
					tt.part(root)["validFor"] = window
				})
				s.wantBoth(v, ev, c.yes, tt.code)
			}
		})
	}
}

func TestAProofStandsWhileAllThatItReliesOnDoes(t *testing.T) {
	t.Parallel()
	s := newSketch(t, sigstoretest.SignOptions{Stamp: true})
	p, err := s.verifier(nil).trusted.prove(s.evidence())
	if err != nil || len(p.relied) != 4 {
		t.Fatalf("%v, relies on %v", err, p.relied)
	}
	unstamped := newSketch(t, sigstoretest.SignOptions{})
	if p, err := unstamped.verifier(nil).trusted.prove(unstamped.evidence()); err != nil || len(p.relied) != 3 {
		t.Fatalf("%v, relies on %v", err, p.relied)
	}
	foreign, err := s.virtual.ForeignTrustedRootJSON()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(root object)
		stands bool
	}{
		"nothing changed": {nil, true},
		"others came, and the order changed": {func(root object) {
			for _, kind := range []string{"tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities"} {
				root[kind] = append(slices.Clone(decodeObject(t, foreign)[kind].([]any)), root[kind].([]any)...)
			}
		}, true},
		"the log went":                   {func(root object) { root["tlogs"] = decodeObject(t, foreign)["tlogs"] }, false},
		"the certificates' log went":     {func(root object) { root["ctlogs"] = decodeObject(t, foreign)["ctlogs"] }, false},
		"the certificate authority went": {func(root object) { root["certificateAuthorities"] = decodeObject(t, foreign)["certificateAuthorities"] }, false},
		"the timestamp authority went":   {func(root object) { root["timestampAuthorities"] = []any{} }, false},
		"the log's key ended":            {func(root object) { ends(root.list("tlogs")[0].part("publicKey"), virtualNow.Add(time.Hour)) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := s.verifier(tt.change).trusted.stands(p); got != tt.stands {
				t.Errorf("stands: %t", got)
			}
		})
	}
	if s.verifier(nil).trusted.stands(proof{}) {
		t.Error("a proof of nothing stands")
	}
}

// hierarchy puts roots and intermediates above the key of the virtual
// certificate authority: certificates from the issuing one up to the root.
func (s sketch) hierarchy(changes ...func(*x509.Certificate)) []*x509.Certificate {
	s.t.Helper()
	ca, _ := s.virtual.CA()
	parent := &x509.Certificate{Subject: pkix.Name{CommonName: "root"}}
	parentKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	key, rootKey := parentKey, parentKey
	var chain []*x509.Certificate
	for i, change := range slices.Backward(changes) {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: string(rune('a' + i))},
			NotBefore: virtualNow.Add(-time.Hour), NotAfter: virtualNow.Add(time.Hour),
			KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		}
		var public any = &rootKey.PublicKey
		switch {
		case i == 0:
			template.RawSubject, public = ca.RawSubject, ca.PublicKey
		case i < len(changes)-1:
			if key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader); err != nil {
				s.t.Fatal(err)
			}
			public = &key.PublicKey
		}
		if change != nil {
			change(template)
		}
		if i == len(changes)-1 {
			parent = template
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, parentKey)
		if err != nil {
			s.t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			s.t.Fatal(err)
		}
		chain, parent, parentKey = append([]*x509.Certificate{c}, chain...), c, key
	}
	return chain
}

func (s sketch) trusting(chain []*x509.Certificate) *signatureVerifier {
	return s.verifier(func(root object) {
		var certs []any
		for _, c := range chain {
			certs = append(certs, map[string]any{"rawBytes": base64.StdEncoding.EncodeToString(c.Raw)})
		}
		root.list("certificateAuthorities")[0]["certChain"] = map[string]any{"certificates": certs}
	})
}

func TestHierarchiesOfAuthoritiesAreJudgedAsSigstoreDoes(t *testing.T) { // row B25
	t.Parallel()
	type edit = func(*x509.Certificate)
	window := func(from, to time.Duration) edit {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = virtualNow.Add(from), virtualNow.Add(to) }
	}
	usage := func(u x509.ExtKeyUsage) edit {
		return func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{u} }
	}
	depth := func(n int) edit {
		return func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = n, n == 0 }
	}
	extension := func(critical bool, id ...int) edit {
		return func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier(id), Critical: critical, Value: []byte{5, 0}}}
		}
	}
	names := func(domain string) edit {
		return func(c *x509.Certificate) {
			c.PermittedEmailAddresses, c.PermittedDNSDomainsCritical = []string{domain}, true
		}
	}
	noAuthority := func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }
	tests := map[string]struct {
		chain  []edit
		yes    bool
		beyond bool
	}{
		"root alone":                               {[]edit{nil}, true, false},
		"one intermediate":                         {[]edit{nil, nil}, true, false},
		"three intermediates":                      {[]edit{nil, nil, nil, nil}, true, false},
		"intermediate expired at signing":          {[]edit{window(-time.Hour, -time.Minute), nil}, false, false},
		"intermediate not yet valid at signing":    {[]edit{window(time.Minute, time.Hour), nil}, false, false},
		"intermediate expired since":               {[]edit{window(-time.Hour, time.Minute), nil}, true, false},
		"intermediate older than its root":         {[]edit{window(-9*time.Hour, time.Minute), nil}, true, false},
		"root expired at signing":                  {[]edit{nil, window(-2*time.Hour, -time.Minute)}, false, false},
		"only root, expired at signing":            {[]edit{window(-2*time.Hour, -time.Minute)}, false, false},
		"middle one expired at signing":            {[]edit{nil, window(-2*time.Hour, -time.Minute), nil}, false, false},
		"intermediate that is no authority":        {[]edit{noAuthority, nil}, false, false},
		"middle one that is no authority":          {[]edit{nil, noAuthority, nil}, false, false},
		"room for none below the issuer":           {[]edit{depth(0), nil}, true, false},
		"room for none below the root":             {[]edit{nil, depth(0)}, false, false},
		"room for one below the root, two there":   {[]edit{nil, nil, depth(1)}, false, false},
		"room for two below the root, two there":   {[]edit{nil, nil, depth(2)}, true, false},
		"intermediate for servers only":            {[]edit{usage(x509.ExtKeyUsageServerAuth), nil}, false, false},
		"intermediate for code":                    {[]edit{usage(x509.ExtKeyUsageCodeSigning), nil}, true, false},
		"middle one for servers only":              {[]edit{nil, usage(x509.ExtKeyUsageServerAuth), nil}, false, false},
		"root for servers only":                    {[]edit{nil, usage(x509.ExtKeyUsageServerAuth)}, false, false},
		"only root, for servers only":              {[]edit{usage(x509.ExtKeyUsageServerAuth)}, false, false},
		"unknown critical extension in the issuer": {[]edit{extension(true, 1, 2, 3), nil}, false, false},
		"unknown critical extension in the root":   {[]edit{nil, extension(true, 1, 2, 3)}, false, false},
		"unknown extension":                        {[]edit{extension(false, 1, 2, 3), extension(false, 1, 2, 3)}, true, false},
		"names that the signer's is not among":     {[]edit{names("elsewhere.test"), nil}, false, true},
		"names that the signer's is among":         {[]edit{names("factory.test"), nil}, true, true},
		"names that the root limits to others":     {[]edit{nil, nil, names("elsewhere.test")}, false, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSketch(t, sigstoretest.SignOptions{Stamp: true})
			chain := s.hierarchy(tt.chain...)
			v, ev := s.trusting(chain), s.evidence()
			if !tt.beyond {
				s.wantBoth(v, ev, tt.yes, codeUntrusted)
			} else if _, err := v.trusted.prove(ev); !errors.Is(err, errBeyond) {
				t.Errorf("got %v", err)
			}
			_, err := v.prove(t.Context(), s.payload, s.armored, nil)
			if (err == nil) != tt.yes || err != nil && codeOf(err) != codeUntrusted {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAnIssuerBesideTheChainOfTheTrustedRootIsNone(t *testing.T) { // row B25
	t.Parallel()
	s := newSketch(t, sigstoretest.SignOptions{})
	chain, other := s.hierarchy(nil, nil), s.hierarchy(nil, nil)
	s.wantBoth(s.trusting([]*x509.Certificate{chain[0], chain[1]}), s.evidence(), true, "")
	s.wantBoth(s.trusting([]*x509.Certificate{chain[0], other[1]}), s.evidence(), false, codeUntrusted) // not its root
	s.wantBoth(s.trusting([]*x509.Certificate{other[1]}), s.evidence(), false, codeUntrusted)           // no intermediate
}

func TestWhatIsBeyondUsIsLeftToSigstoreAndDisturbsNothingElse(t *testing.T) {
	t.Parallel()
	s := newSketch(t, sigstoretest.SignOptions{Stamp: true})
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	log := map[string]any{
		"baseUrl": "https://log.test", "hashAlgorithm": "SHA2_256", "logId": map[string]any{"keyId": base64.StdEncoding.EncodeToString(sum256(der))},
		"publicKey": map[string]any{"rawBytes": base64.StdEncoding.EncodeToString(der), "keyDetails": "PKIX_ED25519", "validFor": map[string]any{"start": "2020-01-01T00:00:00Z"}},
	}
	v := s.verifier(func(root object) {
		root["tlogs"] = append(root["tlogs"].([]any), log)
		root["ctlogs"] = append(root["ctlogs"].([]any), log)
	})
	s.wantBoth(v, s.evidence(), true, "")

	mine := s.evidence()
	mine.log.LogId.KeyId = sum256(der) // now the entry is of the log that is beyond
	if _, err := v.trusted.prove(mine); !errors.Is(err, errBeyond) {
		t.Errorf("got %v", err)
	}
	leafless := s.verifier(func(root object) {
		chain := root.list("timestampAuthorities")[0].part("certChain")
		chain["certificates"] = chain["certificates"].([]any)[1:]
	})
	if _, err := leafless.trusted.prove(s.evidence()); !errors.Is(err, errBeyond) {
		t.Errorf("got %v", err)
	}
	for name, v := range map[string]*signatureVerifier{"two logs more": v} {
		if _, err := v.prove(t.Context(), s.payload, s.armored, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheFingerprintsNameEveryPartOfATrustedRoot(t *testing.T) {
	t.Parallel()
	s := newSketch(t, sigstoretest.SignOptions{})
	names := s.verifier(nil).trusted.names
	var kinds []string
	for _, n := range names {
		kind, digest, _ := strings.Cut(n, ":")
		if len(digest) != 2*sha256.Size {
			t.Errorf("%q names nothing", n)
		}
		kinds = append(kinds, kind)
	}
	if strings.Join(kinds, " ") != "ca ct log tsa" {
		t.Errorf("got %v", kinds)
	}
}
