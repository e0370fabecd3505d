package gitverify_test

import (
	"slices"
	"strings"
)

// The oracle is the trust model (T1 to T10) a second time, read naively: commits
// are numbers, trees are maps, and it looks at everything for every question.

const oracleTrust = "factory-config/trust/policy.yaml"

// modelCommit is a commit as the rules see it.
type modelCommit struct {
	parents []int
	tree    map[string]string // path → mode and content; the policy's content is its name
	// signer is the name of an identity of any policy, "forge", or "" where
	// there is no signature.
	signer    string
	committer string
	at        int // minutes
	message   string
}

type modelIdentity struct {
	name, person, email string
	roles               []string
	from, to            int // window in minutes; 0: open
}

type modelRule struct {
	name, role string
	threshold  int
	paths      []string
}

// modelPolicy is a trust policy. A broken one cannot be read.
type modelPolicy struct {
	broken     bool
	version    int
	repository string
	identities []modelIdentity
	rules      []modelRule
	revoked    map[string]int // identity → minute
	strict     bool           // committers must be signers
	forge      bool           // the forge's key is listed
}

// world is a repository and the followed ref.
type world struct {
	ref      string
	commits  []modelCommit
	policies map[string]modelPolicy // by content of the policy file
}

// fault is a reason for a no: which commit, and what class of reason.
type fault struct {
	commit int
	class  string
}

// judgement is an answer; there may be several right reasons for a no.
type judgement struct {
	yes      bool
	accepted int
	faults   []fault
}

func (w *world) policyOf(c int) modelPolicy {
	p, ok := w.policies[w.commits[c].tree[oracleTrust]]
	p.broken = p.broken || !ok
	for _, rule := range p.rules { // nobody may be locked out (T5, T8)
		able := map[string]bool{}
		for _, id := range p.identities {
			if _, revoked := p.revoked[id.name]; slices.Contains(id.roles, rule.role) && !revoked {
				able[id.person] = true
			}
		}
		delete(able, "")
		p.broken = p.broken || len(able) < rule.threshold
	}
	return p
}

// reach is the commit and everything before it.
func (w *world) reach(c int) map[int]bool {
	all := map[int]bool{}
	for queue := []int{c}; len(queue) > 0; queue = queue[1:] {
		if !all[queue[0]] {
			all[queue[0]] = true
			queue = append(queue, w.commits[queue[0]].parents...)
		}
	}
	return all
}

// judge answers by T1, T3 and T10.
func (w *world) judge(anchor, candidate, floor int) judgement {
	line := []int{}
	at := candidate
	for at != anchor {
		line = append(line, at)
		if len(w.commits[at].parents) == 0 {
			return judgement{accepted: anchor, faults: []fault{{candidate, "history"}}}
		}
		at = w.commits[at].parents[0]
	}
	slices.Reverse(line)
	if floor >= 0 && floor != anchor && !slices.Contains(line, floor) && !w.reach(anchor)[floor] {
		return judgement{accepted: anchor, faults: []fault{{candidate, "history"}}}
	}
	last, unfinished := anchor, []fault(nil)
	for _, c := range line {
		unit := w.unit(last, c)
		if bad := w.badCommits(unit, last); len(bad) > 0 {
			return judgement{accepted: last, faults: bad}
		}
		unfinished = append(w.policyChange(last, c), w.unmetRules(unit, last, c, line)...)
		if len(unfinished) == 0 {
			last = c
		}
	}
	return judgement{yes: last == candidate, accepted: last, faults: unfinished}
}

// unit is what is reachable from c and not from the last accepted commit.
func (w *world) unit(last, c int) []int {
	old, unit := w.reach(last), []int(nil)
	for k := range w.reach(c) {
		if !old[k] {
			unit = append(unit, k)
		}
	}
	slices.Sort(unit)
	return unit
}

// badCommits are those that end the walk (T1, T2, T6).
func (w *world) badCommits(unit []int, last int) []fault {
	policy, bad := w.policyOf(last), []fault(nil)
	for _, k := range unit {
		c := w.commits[k]
		if len(c.parents) == 0 {
			bad = append(bad, fault{k, "history"})
		}
		switch id, listed := policy.identity(c.signer); {
		case c.signer == "":
			bad = append(bad, fault{k, "unsigned"})
		case c.signer == "forge" && !policy.forge:
			bad = append(bad, fault{k, "forge key"})
		case c.signer == "forge":
			if !w.mechanical(k) {
				bad = append(bad, fault{k, "forge content"})
			}
		case !listed:
			bad = append(bad, fault{k, "unknown"})
		default:
			since, revoked := policy.revoked[id.name]
			if revoked && c.at >= since || id.from != 0 && c.at < id.from || id.to != 0 && c.at >= id.to {
				bad = append(bad, fault{k, "not in force"})
			}
			if policy.strict && c.committer != id.email {
				bad = append(bad, fault{k, "committer"})
			}
		}
	}
	return bad
}

func (p modelPolicy) identity(name string) (modelIdentity, bool) {
	for _, id := range p.identities {
		if id.name == name {
			return id, true
		}
	}
	return modelIdentity{}, false
}

// policyChange is T8.
func (w *world) policyChange(last, c int) (unfinished []fault) {
	now := w.policyOf(c)
	if now.broken {
		return []fault{{c, "policy"}}
	}
	for _, old := range append([]int{last}, w.commits[c].parents...) {
		before := w.policyOf(old)
		if w.commits[old].tree[oracleTrust] != w.commits[c].tree[oracleTrust] && !before.broken && now.version <= before.version {
			unfinished = append(unfinished, fault{c, "policy"})
		}
	}
	return unfinished
}

// changed lists the paths whose entries differ.
func changed(a, b map[string]string) []string {
	var paths []string
	for p := range a {
		if a[p] != b[p] {
			paths = append(paths, p)
		}
	}
	for p := range b {
		if _, both := a[p]; !both {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return paths
}

// unmetRules are T4, T5 and T7.
func (w *world) unmetRules(unit []int, last, c int, line []int) (unmet []fault) {
	policy := w.policyOf(last)
	delta := changed(w.commits[last].tree, w.commits[c].tree)
	roles := []string{}
	for _, path := range delta {
		matched := false
		for _, rule := range policy.rules {
			if !slices.ContainsFunc(rule.paths, func(p string) bool { return covers(p, path) }) {
				continue
			}
			matched, roles = true, append(roles, rule.role)
			people := map[string]bool{}
			for _, k := range w.vouchable(unit, last, c, path) {
				id, _ := policy.identity(w.commits[k].signer)
				vouches := w.origin(k, path) || w.approval(k, policy.repository) || slices.Contains(line, k) && w.commits[w.commits[k].parents[0]].tree[path] != w.commits[k].tree[path]
				if vouches && id.person != "" && slices.Contains(id.roles, rule.role) {
					people[id.person] = true
				}
			}
			if len(people) < rule.threshold {
				unmet = append(unmet, fault{c, "threshold"})
			}
		}
		if !matched {
			unmet = append(unmet, fault{c, "no rule"})
		}
	}
	for _, k := range unit {
		id, _ := policy.identity(w.commits[k].signer) // no person is the forge, or a machine
		impersonal := slices.Contains(line, k) && len(w.commits[k].parents) > 1 && id.person == ""
		if impersonal && len(delta) > 0 && !w.intended(policy, unit, last, c, delta, roles) {
			unmet = append(unmet, fault{c, "intent"})
		}
	}
	return unmet
}

// intended says whether somebody who counts approved the whole delta (T7).
func (w *world) intended(policy modelPolicy, unit []int, last, c int, delta, roles []string) bool {
	for _, k := range unit {
		id, _ := policy.identity(w.commits[k].signer)
		counts := id.person != "" && slices.ContainsFunc(id.roles, func(r string) bool { return slices.Contains(roles, r) })
		if !counts || !w.approval(k, policy.repository) {
			continue
		}
		if !slices.ContainsFunc(delta, func(path string) bool { return !slices.Contains(w.vouchable(unit, last, c, path), k) }) {
			return true
		}
	}
	return false
}

// vouchable are the standing commits that forked from the accepted history where
// the path was what it is at its end: others have not seen what they replace.
func (w *world) vouchable(unit []int, last, c int, path string) []int {
	blind := func(b int) bool { return w.commits[b].tree[path] != w.commits[last].tree[path] }
	return slices.DeleteFunc(w.standing(unit, c, path), func(k int) bool { return slices.ContainsFunc(w.bases([]int{last, k}), blind) })
}

// standing are the commits of the unit from which the path's entry came down
// to c unchanged.
func (w *world) standing(unit []int, c int, path string) []int {
	found, queue := []int(nil), []int{c}
	for len(queue) > 0 {
		k := queue[0]
		queue = queue[1:]
		if slices.Contains(found, k) || !slices.Contains(unit, k) || w.commits[k].tree[path] != w.commits[c].tree[path] {
			continue
		}
		found = append(found, k)
		if len(w.commits[k].parents) == 1 || !w.origin(k, path) { // nothing stands beyond a merge that decided
			queue = append(queue, w.commits[k].parents...)
		}
	}
	return found
}

// origin says whether a commit made the entry that it has at the path.
func (w *world) origin(k int, path string) bool {
	c := w.commits[k]
	switch len(c.parents) {
	case 0:
		return true
	case 1:
		return w.commits[c.parents[0]].tree[path] != c.tree[path]
	}
	if len(c.parents) == 2 && len(w.bases(c.parents)) == 1 {
		entry, ok := w.merged(k, path)
		return !ok || entry != c.tree[path]
	}
	// Nothing mechanical exists: the merge answers for all that a parent has otherwise.
	return slices.ContainsFunc(c.parents, func(p int) bool { return w.commits[p].tree[path] != c.tree[path] })
}

// merged is what a three-way comparison gives at the path, if it gives anything,
// where there is one base.
func (w *world) merged(k int, path string) (string, bool) {
	c := w.commits[k]
	base, ours, theirs := w.commits[w.bases(c.parents)[0]].tree[path], w.commits[c.parents[0]].tree[path], w.commits[c.parents[1]].tree[path]
	switch {
	case ours == theirs, theirs == base:
		return ours, true
	case ours == base:
		return theirs, true
	}
	return "", false
}

// mechanical is T6 for a forge's key.
func (w *world) mechanical(k int) bool {
	c := w.commits[k]
	if len(c.parents) != 2 || len(w.bases(c.parents)) != 1 {
		return false
	}
	base := w.commits[w.bases(c.parents)[0]].tree
	paths, touched := append(changed(nil, c.tree), changed(nil, base)...), 0
	for _, p := range c.parents {
		sides := changed(base, w.commits[p].tree)
		paths = append(paths, sides...)
		if slices.ContainsFunc(sides, func(path string) bool { return strings.HasPrefix(path, "factory-config/trust/") }) {
			touched++
		}
	}
	return touched < 2 && !slices.ContainsFunc(paths, func(path string) bool { return w.origin(k, path) })
}

// bases are the common ancestors that no other common ancestor descends from.
func (w *world) bases(parents []int) []int {
	common := w.reach(parents[0])
	for k := range common {
		if !w.reach(parents[1])[k] {
			delete(common, k)
		}
	}
	var best []int
	for k := range common {
		covered := false
		for other := range common {
			covered = covered || other != k && w.reach(other)[k]
		}
		if !covered {
			best = append(best, k)
		}
	}
	slices.Sort(best)
	return best
}

// approval is T7: the parent's tree, and one trailer for this repository and ref.
func (w *world) approval(k int, repository string) bool {
	c := w.commits[k]
	if len(c.parents) != 1 || len(changed(c.tree, w.commits[c.parents[0]].tree)) != 0 {
		return false
	}
	paragraphs := strings.Split(strings.TrimSpace(c.message), "\n\n")
	trailers := 0
	for line := range strings.Lines(paragraphs[len(paragraphs)-1] + "\n") {
		if strings.HasPrefix(line, "Millwright-Approve: ") {
			trailers++
		}
	}
	return trailers == 1 && len(paragraphs) > 1 &&
		strings.Contains("\n"+paragraphs[len(paragraphs)-1]+"\n", "\nMillwright-Approve: "+repository+" "+w.ref+"\n")
}

// covers matches a pattern of T4 against a path, segment by segment.
func covers(pattern, path string) bool {
	return coversSegments(strings.Split(pattern, "/"), strings.Split(path, "/"))
}

func coversSegments(pattern, path []string) bool {
	switch {
	case len(pattern) == 0:
		return len(path) == 0
	case pattern[0] == "**":
		return coversSegments(pattern[1:], path) || len(path) > 0 && coversSegments(pattern, path[1:])
	}
	return len(path) > 0 && coversSegment(pattern[0], path[0]) && coversSegments(pattern[1:], path[1:])
}

func coversSegment(pattern, segment string) bool {
	switch {
	case pattern == "":
		return segment == ""
	case pattern[0] == '*':
		return coversSegment(pattern[1:], segment) || segment != "" && coversSegment(pattern, segment[1:])
	}
	return segment != "" && pattern[0] == segment[0] && coversSegment(pattern[1:], segment[1:])
}
