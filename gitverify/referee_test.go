package gitverify_test

import (
	"bytes"
	"encoding/pem"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/publicgood"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

// mutations is how many of the random mutations are tried.
var mutations = flag.Int("mutations", 2000, "how many mutated signatures sigstore-go referees")

// trusted is the trusted root of the repository's virtual Sigstore.
func (r *repository) trusted() gitverify.TrustedRoot {
	r.t.Helper()
	data, err := r.virtual.TrustedRootJSON()
	if err != nil {
		r.t.Fatal(err)
	}
	root, err := gitverify.ParseTrustedRoot(data)
	if err != nil {
		r.t.Fatal(err)
	}
	return root
}

// wantAgreement fails unless sigstore-go gives the same answers about the
// signatures of these commits as our own proving.
func (r *repository) wantAgreement(commits ...gitverify.ID) {
	r.t.Helper()
	for _, id := range commits {
		if o := r.objects[id]; o.kind == "commit" {
			if _, err := gitverify.Refereed(r.trusted(), o.body); err != nil {
				r.t.Errorf("%s: %v", id, err)
			}
		}
	}
}

func TestSigstoreAgreesAboutMutatedSignatures(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	s := scene{r, r.anchor()}
	s.signed(honest) // so that a proof has a hash in it
	for name, o := range map[string]sigstoretest.SignOptions{"logged": honest, "stamped": {Stamp: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			signed := s.sign(s.body(), o)
			refereeMutations(t, r.trusted(), signed)
		})
	}
}

func TestSigstoreAgreesAboutRealSignaturesAndTheirMutations(t *testing.T) {
	t.Parallel()
	for name, who := range map[string]sigstoretest.Committer{"logged": aliceCommits, "stamped": bobCommits} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorkshop(t)
			w.commit(nobody, "anchor")
			w.write("a", "1\n")
			tip := w.commit(who, "change")
			root, err := gitverify.LoadTrustedRootFile(w.sigstore.TrustedRootPath)
			if err != nil {
				t.Fatal(err)
			}
			refereeMutations(t, root, w.load().objects[tip].body)
		})
	}
}

// refereeMutations lets sigstore-go referee a good signature and many that
// differ from it in a few bytes of its DER. Half of them change nothing but the
// evidence beside the signature, which nothing signs.
func refereeMutations(t *testing.T, root gitverify.TrustedRoot, signed []byte) {
	t.Helper()
	if yes, err := gitverify.Refereed(root, signed); err != nil || !yes {
		t.Fatalf("the good signature: %v, %v", yes, err)
	}
	before, rest, _ := bytes.Cut(signed, []byte("gpgsig "))
	header, after, _ := bytes.Cut(rest, []byte("-----END SIGNED MESSAGE-----\n"))
	armored := strings.ReplaceAll(string(header)+"-----END SIGNED MESSAGE-----\n", "\n ", "\n")
	block, _ := pem.Decode([]byte(armored))
	if block == nil {
		t.Fatal("no signature")
	}
	n := *mutations
	if testing.Short() {
		n = min(n, 200)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	evidence := bytes.LastIndex(block.Bytes, []byte("hashedrekord"))
	for i := range n {
		from := 0
		if i%2 == 0 {
			from = evidence - 60
		}
		der := mutated(random, block.Bytes, from)
		text := strings.TrimRight(string(pem.EncodeToMemory(&pem.Block{Type: "SIGNED MESSAGE", Bytes: der})), "\n")
		commit := fmt.Sprintf("%sgpgsig %s\n%s", before, strings.ReplaceAll(text, "\n", "\n "), after)
		yes, err := gitverify.Refereed(root, []byte(commit))
		if err != nil || yes && !bytes.Equal(der, block.Bytes) {
			t.Errorf("mutation %d (yes: %t): %v\n%s", i, yes, err, text)
		}
	}
}

// mutated changes one to three bytes after an offset.
func mutated(random *rand.Rand, der []byte, from int) []byte {
	der = bytes.Clone(der)
	for range 1 + random.IntN(3) {
		at := from + random.IntN(len(der)-from)
		switch random.IntN(3) {
		case 0:
			der[at] ^= 1 << random.IntN(8)
		case 1:
			der[at] = byte(random.IntN(256))
		default:
			der[at] = der[from+random.IntN(len(der)-from)]
		}
	}
	return der
}

func TestThePublicInstanceIsWithinOurOwnProvingButForRekorV2(t *testing.T) {
	t.Parallel()
	root, err := publicgood.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	authorities, certificateLogs, logs, stampers, beyond := root.Parts()
	// Rekor v2, when the shipped root gets to know it, has Ed25519 keys; gitsign
	// writes none of its entries.
	if authorities < 2 || certificateLogs < 2 || logs < 1 || stampers < 1 || beyond != logs-1 {
		t.Errorf("%d authorities, %d certificate logs, %d logs, %d timestamp authorities, of which %d beyond", authorities, certificateLogs, logs, stampers, beyond)
	}
}
