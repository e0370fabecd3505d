package gitverify_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/forgekey/forgekeytest"
	"millwright.dev/millwright/gitverify/sigstoretest"
)

var (
	oracleSeed  = flag.Uint64("oracle.seed", 0, "replay this one history; 0: those of -oracle.count seeds")
	oracleCount = flag.Int("oracle.count", 60, "number of random histories")
)

// classes sort the codes of refusals into what the oracle knows.
func classes() map[string]string {
	return map[string]string{
		"sig/missing": "unsigned", "id/subject": "unknown", "forge/key": "forge key", "sig/type": "forge key", "forge/content": "forge content",
		"id/not-in-force": "not in force", "id/revoked": "not in force", "id/committer-mismatch": "committer",
		"rule/none": "no rule", "rule/threshold": "threshold", "rule/intent": "intent",
		"policy/invalid": "policy", "policy/version": "policy", "policy/lockout": "policy",
		"hist/rollback": "history", "hist/non-descendant": "history", "hist/not-mainline": "history", "hist/root": "history",
	}
}

// realised is a random history as Git objects.
type realised struct {
	*generator
	*repository
	forge *forgekeytest.Forge
	ids   []gitverify.ID
}

func realise(t *testing.T, g *generator, virtual *sigstoretest.Virtual, forge *forgekeytest.Forge) *realised {
	t.Helper()
	h := &realised{generator: g, forge: forge, repository: &repository{
		t: t, virtual: virtual, objects: map[gitverify.ID]object{}, broken: map[gitverify.ID]error{},
	}}
	for _, c := range g.commits {
		h.ids = append(h.ids, h.put("commit", h.raw(c)))
	}
	return h
}

// raw makes the bytes of a commit and signs them.
func (h *realised) raw(c modelCommit) []byte {
	h.t.Helper()
	tree := map[string]string{}
	for path, content := range c.tree {
		mode, text, ok := strings.Cut(content, " ")
		switch {
		case path == oracleTrust:
			tree[path] = h.policyYAML(content)
		case ok:
			tree[mode+" "+path] = text
		default:
			tree[path] = content
		}
	}
	parents := make([]gitverify.ID, len(c.parents))
	for i, p := range c.parents {
		parents[i] = h.ids[p]
	}
	body := unsigned(h.repository.tree(tree), c.message, parents...)
	body = bytes.Replace(body, []byte("C O Mitter <committer@example.test>"), []byte("C O Mitter <"+c.committer+">"), 1)
	// No two commits may be the same object.
	body = bytes.Replace(body, []byte("A U Thor"), fmt.Appendf(nil, "A U Thor %d", c.at), 1)
	switch c.signer {
	case "":
		return body
	case "forge":
		signed, err := h.forge.SignCommit(body)
		if err != nil {
			h.t.Fatal(err)
		}
		return signed
	}
	return h.sign(body, sigstoretest.SignOptions{Subject: modelEmail(c.signer), IssuedAt: h.minute(c.at)})
}

func (h *realised) minute(n int) time.Time {
	return h.virtual.Now().Add(time.Duration(n) * time.Minute)
}

// policyYAML writes a policy of the model as a file.
func (h *realised) policyYAML(name string) string {
	p := h.policies[name]
	if p.broken {
		return "# " + name + "\nspec: [\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\napiVersion: millwright.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {name: factory}\nspec:\n", name)
	fmt.Fprintf(&b, "  version: %d\n  repository: %s\n  identities:\n", p.version, p.repository)
	for _, id := range p.identities {
		fmt.Fprintf(&b, "  - {name: %s, issuer: %q, subject: %s, roles: [%s]", id.name, issuer, id.email, strings.Join(id.roles, ", "))
		if id.person != "" {
			fmt.Fprintf(&b, ", person: %s", id.person)
		}
		if id.from != 0 {
			fmt.Fprintf(&b, ", notBefore: %s", h.minute(id.from).Format(time.RFC3339))
		}
		if id.to != 0 {
			fmt.Fprintf(&b, ", notAfter: %s", h.minute(id.to).Format(time.RFC3339))
		}
		b.WriteString("}\n")
	}
	b.WriteString("  rules:\n")
	for _, r := range p.rules {
		fmt.Fprintf(&b, "  - {name: %s, paths: [\"%s\"], role: %s, threshold: %d}\n", r.name, strings.Join(r.paths, `", "`), r.role, r.threshold)
	}
	b.WriteString("  history:\n    committer: " + map[bool]string{true: "match", false: "any"}[p.strict] + "\n")
	if p.forge {
		key := h.forge.Key("forge")
		fmt.Fprintf(&b, "    forgeKeys:\n    - {name: forge, type: %s, fingerprint: %q, publicKey: %q}\n", key.Type, key.Fingerprint, key.PublicKey)
	}
	if len(p.revoked) > 0 {
		b.WriteString("  revocations:\n")
		for _, who := range slices.Sorted(maps.Keys(p.revoked)) {
			fmt.Fprintf(&b, "  - {identity: %s, from: %s, reason: \"as the test wants\"}\n", who, h.minute(p.revoked[who]).Format(time.RFC3339))
		}
	}
	return b.String()
}

// compare asks the oracle and the verifier about one tip.
func (h *realised) compare(v *gitverify.Verifier, candidate, floor int) (want judgement, difference string) {
	want = h.judge(0, candidate, floor)
	req := request(h.ids[0], h.ids[candidate])
	if floor >= 0 {
		req.Floor = h.ids[floor]
	}
	got, err := v.Verify(h.t.Context(), h, req)
	var no *gitverify.Refusal
	switch {
	case err != nil && !errors.As(err, &no):
		return want, fmt.Sprintf("neither yes nor no: %v", err)
	case want.yes != (err == nil):
		return want, fmt.Sprintf("the oracle says %+v, the verifier %v", want, err)
	case want.yes && got.Commit() != req.Candidate:
		return want, fmt.Sprintf("verified %s", got.Commit())
	case want.yes:
		return want, ""
	}
	blamed := fault{slices.Index(h.ids, no.Commit), classes()[no.Code]}
	if !slices.Contains(want.faults, blamed) {
		return want, fmt.Sprintf("the oracle says %+v, the verifier blames %+v: %v", want, blamed, err)
	}
	return want, ""
}

// TestAnIndependentReadingOfTheTrustModelAgrees: promise of the property test.
func TestAnIndependentReadingOfTheTrustModelAgrees(t *testing.T) {
	t.Parallel()
	virtual, err := sigstoretest.NewVirtual(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	first, count := uint64(1), *oracleCount
	if *oracleSeed != 0 {
		first, count = *oracleSeed, 1
	}
	yes, no := 0, map[string]int{}
	for seed := first; seed < first+uint64(count) && !t.Failed(); seed++ {
		kind := []string{"ssh", "pgp"}[seed%2]
		forge, err := forgekeytest.New(kind)
		if err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(seed, 0))
		h := realise(t, newHistory(rng, 6+rng.IntN(30)), virtual, forge)
		accepted := 0
		v := h.verifier()
		for i, candidate := range h.candidates {
			floor := []int{-1, accepted, h.candidates[rng.IntN(i+1)]}[rng.IntN(3)]
			want, difference := h.compare(v, candidate, floor)
			if difference == "" {
				_, difference = h.compare(h.verifier(), candidate, floor) // without a memory
			}
			if difference != "" {
				t.Errorf("-oracle.seed=%d: tip %d (floor %d): %s\n%s", seed, candidate, floor, difference, h.dump())
				break
			}
			if want.yes {
				yes, accepted = yes+1, candidate
				continue
			}
			for _, f := range want.faults {
				no[f.class]++
			}
		}
	}
	t.Logf("%d histories from seed %d: %d times yes, no for %v", count, first, yes, no)
}
