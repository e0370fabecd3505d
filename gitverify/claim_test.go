package gitverify_test

import (
	"errors"
	"slices"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

func TestAClaimIsReadAsStrictlyAsAProof(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	anchor := r.anchor()
	tree := r.tree(files())
	body := unsigned(tree, "subject\n\nlast paragraph", anchor)
	claim, err := gitverify.ClaimOfCommit(r.sign(body, sigstoretest.SignOptions{Subject: bob}))
	if err != nil {
		t.Fatal(err)
	}
	if claim.Subject != bob || claim.Issuer != issuer || claim.URI || claim.Committer != "committer@example.test" {
		t.Errorf("claimed: %+v", claim)
	}
	if claim.Tree != tree || !slices.Equal(claim.Parents, []gitverify.ID{anchor}) || string(claim.Message) != "subject\n\nlast paragraph\n" {
		t.Errorf("claimed: %+v", claim)
	}
	workload, err := gitverify.ClaimOfCommit(r.sign(body, sigstoretest.SignOptions{Subject: "spiffe://factory.test/robot"}))
	if err != nil || !workload.URI {
		t.Errorf("claimed: %+v, %v", workload, err)
	}
	for name, c := range map[string]struct {
		body []byte
		code string
	}{
		"no signature":          {body, "sig/missing"},
		"no commit":             {[]byte("tree\n\n"), "obj/malformed"},
		"PGP":                   {r.sign(body, sigstoretest.SignOptions{PEMType: "PGP SIGNATURE"}), "sig/type"},
		"no log entry":          {r.sign(body, sigstoretest.SignOptions{NoLogEntry: true}), "log/missing"},
		"no certificate":        {r.sign(body, sigstoretest.SignOptions{NoCertificate: true}), "sig/no-cert"},
		"another commit's":      {append(r.sign(body, sigstoretest.SignOptions{}), "more\n"...), "sig/digest"},
		"a log without a proof": {r.sign(body, sigstoretest.SignOptions{NoProof: true}), "log/no-proof"},
	} {
		var no *gitverify.Refusal
		if _, err := gitverify.ClaimOfCommit(c.body); !errors.As(err, &no) || no.Code != c.code {
			t.Errorf("%s: want %s, got %v", name, c.code, err)
		}
	}
}
