package trustpolicy_test

import (
	"errors"
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify/trustpolicy"
)

// FuzzDecodePolicy holds whatever is accepted against what a verifier relies on.
// Its seeds are in testdata/fuzz, besides those that are made here.
func FuzzDecodePolicy(f *testing.F) {
	for _, seed := range []string{tidy, small, small + "---\n", "{", "&a [*a]", strings.Replace(small, "1", "!!int 1", 1), small + "x: <<"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := trustpolicy.Decode(data, trustpolicy.DefaultPath)
		if err != nil {
			var no *trustpolicy.Invalid
			if !errors.As(err, &no) || no.Detail == "" || p != nil {
				t.Fatalf("refused as %v, %v", p, err)
			}
			return
		}
		if p.Version < 1 || p.Repository == "" || p.Digest() == "" || len(p.RulesFor(trustpolicy.DefaultPath)) == 0 {
			t.Fatalf("accepted %+v", p)
		}
		for i := range p.Rules {
			if r := &p.Rules[i]; r.Threshold < 1 || len(p.People(r.Role)) < r.Threshold {
				t.Fatalf("nobody can meet %+v", r)
			}
		}
		for i := range p.Identities {
			id := &p.Identities[i]
			if id.Subject == "" {
				continue
			}
			if got, err := p.Identify(id.Issuer, id.Subject, trustpolicy.IsURI(id.Subject)); err != nil || got.Name != id.Name {
				t.Fatalf("%q is %v, %v", id.Name, got, err)
			}
			if _, err := p.Identify(id.Issuer+"x", id.Subject, trustpolicy.IsURI(id.Subject)); err == nil && !strings.Contains(string(data), id.Issuer+"x") {
				t.Fatalf("%q is anybody's", id.Name)
			}
		}
		p.Lint(trustpolicy.Surroundings{Path: trustpolicy.DefaultPath, Files: []string{"a"}})
	})
}
