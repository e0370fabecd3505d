package gitverify_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// generator makes histories by random moves of people and attackers.
type generator struct {
	*world
	rng    *rand.Rand
	main   int
	sides  []int
	minute int
	// candidates are the tips that the ref had, one after the other.
	candidates []int
}

const modelRepository = "millwright.dev/factory"

// newHistory makes a history of so many moves.
func newHistory(rng *rand.Rand, moves int) *generator {
	g := &generator{rng: rng, world: &world{ref: "refs/heads/main", policies: map[string]modelPolicy{}}}
	g.main = g.add(modelCommit{tree: map[string]string{oracleTrust: g.policy(g.firstPolicy()), "README": "0"}})
	for range moves {
		g.move()
	}
	return g
}

func (g *generator) pick(of ...string) string { return of[g.rng.IntN(len(of))] }

func (g *generator) chance(percent int) bool { return g.rng.IntN(100) < percent }

// add makes a commit by somebody, who is its committer too unless that is said.
func (g *generator) add(c modelCommit) int {
	g.minute++
	c.at = g.minute
	if c.committer == "" {
		c.committer = modelEmail(c.signer)
	}
	if c.message == "" {
		c.message = "a change"
	}
	g.commits = append(g.commits, c)
	return len(g.commits) - 1
}

func modelEmail(identity string) string { return identity + "@factory.test" }

// policy names a policy file.
func (g *generator) policy(p modelPolicy) string {
	name := fmt.Sprintf("policy %d", len(g.policies)+1)
	g.policies[name] = p
	return name
}

func (g *generator) firstPolicy() modelPolicy {
	p := modelPolicy{
		version: 1, repository: modelRepository, revoked: map[string]int{}, strict: g.chance(70), forge: true,
		identities: []modelIdentity{
			{name: "alice", person: "alice", roles: []string{"maintainer", "security"}},
			{name: "alice-key", person: "alice", roles: []string{"maintainer", "security"}},
			{name: "bob", person: "bob", roles: []string{"maintainer", "security"}},
			{name: "carol", person: "carol", roles: []string{"maintainer"}},
			{name: "dave", person: "dave", roles: []string{"guest"}},
			{name: "robot", roles: []string{"maintainer"}},
		},
		rules: []modelRule{
			{name: "all", role: "maintainer", threshold: 1 + g.rng.IntN(2), paths: []string{g.pick("**", "apps/**", "*/**")}},
			{name: "trust", role: "security", threshold: 1 + g.rng.IntN(2), paths: []string{"factory-config/**"}},
			{name: "more", role: g.pick("maintainer", "guest"), threshold: 1, paths: []string{"docs/*.md", "README"}},
		},
	}
	for i := range p.identities {
		p.identities[i].email = modelEmail(p.identities[i].name)
	}
	return p
}

// nextPolicy is a policy that somebody might want next, rightly or not.
func (g *generator) nextPolicy(old modelPolicy) modelPolicy {
	p := old
	p.identities, p.rules, p.revoked = slices.Clone(old.identities), slices.Clone(old.rules), maps.Clone(old.revoked)
	if p.revoked == nil {
		p.revoked = map[string]int{}
	}
	p.version += []int{1, 1, 1, 1, 1, 2, 0, -1}[g.rng.IntN(8)]
	if p.version < 1 || len(p.identities) == 0 || len(p.rules) < 3 { // after a broken one
		version := old.version
		p = g.firstPolicy()
		p.version = version + 1
	}
	switch id := &p.identities[g.rng.IntN(len(p.identities))]; g.rng.IntN(8) {
	case 0:
		p.revoked[id.name] = max(1, g.minute+g.rng.IntN(8)-4)
	case 1:
		id.from, id.to = max(1, g.minute+g.rng.IntN(6)-3), 0
	case 2:
		id.from, id.to = 0, max(1, g.minute+g.rng.IntN(12))
	case 3:
		p.rules[0].threshold = 3 - p.rules[0].threshold
	case 4:
		p.strict = !p.strict
	case 5:
		p.forge = !p.forge
	case 6:
		p.identities[3].roles = [][]string{{"maintainer"}, {"guest"}, {"maintainer", "security"}}[g.rng.IntN(3)]
	case 7:
		p.broken = g.chance(60)
	}
	return p
}

// content is a tree with a few changes.
func (g *generator) content(from map[string]string) map[string]string {
	tree := maps.Clone(from)
	for range 1 + g.rng.IntN(2) {
		path := g.pick("README", "apps/a", "apps/a", "apps/b", "apps/web/c", "docs/x.md", "docs/x.txt", "factory-config/trust/notes")
		switch g.rng.IntN(8) {
		case 0:
			delete(tree, path)
		case 1:
			tree[path] = "100755 " + g.pick("0", "1")
		default:
			tree[path] = g.pick("0", "1", "2")
		}
	}
	return tree
}

// head is a branch to go on from: mostly the followed one or an open one.
func (g *generator) head() (at int, grow func(int)) {
	if len(g.sides) == 0 || g.chance(35) {
		return g.main, func(c int) { g.main = c }
	}
	i := g.rng.IntN(len(g.sides))
	return g.sides[i], func(c int) { g.sides[i] = c }
}

func (g *generator) person() string {
	return g.pick("alice", "alice", "alice-key", "bob", "bob", "carol", "carol", "dave", "robot")
}

// move is one step of somebody, after which the ref may have a new tip.
func (g *generator) move() {
	before := g.main
	switch n := g.rng.IntN(100); {
	case n < 15: // a branch
		at := g.main
		if g.chance(30) {
			at = g.rng.IntN(len(g.commits))
		}
		g.sides = append(g.sides, g.add(modelCommit{parents: []int{at}, tree: g.content(g.commits[at].tree), signer: g.person()}))
	case n < 35:
		at, grow := g.head()
		grow(g.add(modelCommit{parents: []int{at}, tree: g.content(g.commits[at].tree), signer: g.person()}))
	case n < 55:
		at, grow := g.head()
		grow(g.add(modelCommit{parents: []int{at}, tree: g.commits[at].tree, signer: g.person(), message: g.trailer()}))
	case n < 64:
		at, grow := g.head()
		tree := maps.Clone(g.commits[at].tree)
		tree[oracleTrust] = g.policy(g.nextPolicy(g.policies[tree[oracleTrust]]))
		grow(g.add(modelCommit{parents: []int{at}, tree: tree, signer: g.pick("alice", "bob", "alice", "bob", "carol")}))
	case n < 86:
		g.merge()
	default:
		g.attack()
	}
	if g.main != before {
		g.candidates = append(g.candidates, g.main)
		// What can only be refused is mostly found out and taken back.
		waits := map[string]bool{"threshold": true, "intent": true}
		back := 8
		for _, f := range g.judge(0, g.main, -1).faults {
			if !waits[f.class] {
				back = 85
			}
		}
		if g.chance(back) {
			g.main = before
		}
	}
}

// trailer is an approval, mostly of this repository and ref.
func (g *generator) trailer() string {
	good := "Millwright-Approve: " + modelRepository + " refs/heads/main"
	switch g.rng.IntN(12) {
	case 0:
		return "approve\n\nMillwright-Approve: other.test/factory refs/heads/main"
	case 1:
		return "approve\n\nMillwright-Approve: " + modelRepository + " refs/heads/other"
	case 2:
		return "approve\n\n" + good + "\n" + good
	case 3:
		return "approve\n\n" + good + "\n\nor not"
	case 4:
		return "nothing to see"
	case 5:
		return good
	}
	return "approve\n\n" + good
}

// merge brings a branch in, or brings a branch up to date.
func (g *generator) merge() {
	if len(g.sides) == 0 {
		return
	}
	i := g.rng.IntN(len(g.sides))
	parents, grow := []int{g.main, g.sides[i]}, func(c int) { g.main = c }
	if g.chance(25) {
		parents, grow = []int{g.sides[i], g.main}, func(c int) { g.sides[i] = c }
	}
	if g.reach(parents[0])[parents[1]] || parents[0] == parents[1] {
		return
	}
	tree := g.threeWay(parents)
	if g.chance(12) {
		tree = g.content(tree) // evil
	}
	grow(g.add(modelCommit{parents: parents, tree: tree, signer: g.pick("forge", "forge", g.person())}))
	if parents[0] != g.main && len(g.sides) > 1 && g.chance(70) {
		g.sides = slices.Delete(g.sides, i, i+1)
	}
}

// threeWay merges as git would; conflicts end in favour of either side.
func (g *generator) threeWay(parents []int) map[string]string {
	ours, theirs := g.commits[parents[0]].tree, g.commits[parents[1]].tree
	base := map[string]string{}
	if bases := g.bases(parents); len(bases) > 0 {
		base = g.commits[bases[0]].tree
	}
	tree := maps.Clone(ours)
	for _, path := range changed(base, theirs) {
		if ours[path] != base[path] && g.chance(50) {
			continue
		}
		if tree[path] = theirs[path]; theirs[path] == "" {
			delete(tree, path)
		}
	}
	return tree
}

// attack is a move that nobody should gain by.
func (g *generator) attack() {
	at := g.main
	c := modelCommit{parents: []int{at}, tree: g.content(g.commits[at].tree), signer: g.person()}
	switch g.rng.IntN(9) {
	case 0:
		c.signer = ""
	case 1:
		c.signer = "stranger"
	case 2:
		c.signer = "forge" // squash or rebase by a forge
	case 3:
		c.committer = modelEmail("bob")
	case 4:
		if len(g.sides) > 0 { // the branch as first parent
			side := g.sides[g.rng.IntN(len(g.sides))]
			c.parents, c.tree = []int{side, at}, g.threeWay([]int{side, at})
		}
	case 5:
		if len(g.sides) > 1 { // an octopus
			c.parents, c.tree = []int{at, g.sides[0], g.sides[1]}, g.threeWay([]int{at, g.sides[0]})
		}
	case 6: // another root
		root := g.add(modelCommit{tree: map[string]string{"apps/a": "root"}, signer: g.person()})
		c.parents = []int{at, root}
	case 7: // an older commit again, or a rewrite
		g.main = g.rng.IntN(len(g.commits))
		return
	case 8: // a policy of the attacker's own
		p := g.nextPolicy(g.policies[c.tree[oracleTrust]])
		p.identities = slices.DeleteFunc(p.identities, func(id modelIdentity) bool { return id.name == "stranger" })
		p.identities = append(p.identities, modelIdentity{name: "stranger", person: "stranger", email: modelEmail("stranger"), roles: []string{"maintainer", "security"}})
		c.tree[oracleTrust], c.signer = g.policy(p), g.pick("carol", "stranger", "dave")
	}
	if len(c.parents) > 1 && slices.Contains(c.parents[1:], c.parents[0]) {
		return
	}
	g.main = g.add(c)
}

// dump is the history in lines that people can read.
func (g *generator) dump() string {
	var b strings.Builder
	for i, c := range g.commits {
		fmt.Fprintf(&b, "%d: parents %v, by %q (committer %s) at %d, %q\n", i, c.parents, c.signer, c.committer, c.at, c.message)
		before := map[string]string{}
		if len(c.parents) > 0 {
			before = g.commits[c.parents[0]].tree
		}
		for _, path := range changed(before, c.tree) {
			fmt.Fprintf(&b, "     %s: %q -> %q\n", path, before[path], c.tree[path])
			if path == oracleTrust {
				fmt.Fprintf(&b, "     %+v\n", g.policies[c.tree[path]])
			}
		}
	}
	return b.String()
}
