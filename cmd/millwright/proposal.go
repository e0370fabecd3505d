package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/trustpolicy"
)

// proposal is a branch beside the branch that it is to be merged into: what an
// approval of its tip would be about.
type proposal struct {
	branch, tip, tree string
	// ref is the branch to merge into, target its commit as far as it is known
	// here, under the name targetName, and base where the two parted.
	ref, target, targetName, base string

	policy     *trustpolicy.Policy
	repository string
	changes    []change
	demands    []demand
	// signers are those whom the branch's own signatures claim, and own those of
	// them who signed more than approvals.
	signers map[string]int
	own     map[string]bool
}

// change is one changed path, with the entry that it has at the tip.
type change struct{ path, status, entry string }

// demand is what one rule of the policy asks about some of the changes.
type demand struct {
	rule  *trustpolicy.Rule
	paths int
}

func (p proposal) fullBranch() string { return "refs/heads/" + p.branch }

// refused is a no of the verbs that sign: what they were asked for would be
// worth nothing, or do harm.
type refused struct{ detail, hint string }

func (r refused) Error() string { return r.detail + "; to mend it: " + r.hint }

// examine finds out what is to be approved, and refuses what cannot be.
func (v *approve) examine(ctx context.Context) (proposal, error) {
	p := proposal{ref: v.ref}
	if err := v.findTip(ctx, &p); err != nil {
		return p, err
	}
	if err := v.findTarget(ctx, &p); err != nil {
		return p, err
	}
	if err := v.findBase(ctx, &p); err != nil {
		return p, err
	}
	var err error
	if p.policy, err = v.policyAt(ctx, p.target); err != nil {
		return p, err
	}
	p.repository = cmp.Or(v.id, p.policy.Repository)
	if p.changes, err = v.changed(ctx, p.base, p.tip); err != nil {
		return p, err
	}
	if len(p.changes) == 0 {
		return p, refused{"nothing to approve: " + p.branch + " has the same files as " + p.targetName, "name the branch that has the change"}
	}
	if err := v.checkBehind(ctx, p); err != nil {
		return p, err
	}
	if err := v.checkSigned(ctx, &p); err != nil {
		return p, err
	}
	p.demands, err = demandsOf(p)
	return p, err
}

func (v *approve) findTip(ctx context.Context, p *proposal) error {
	p.branch = strings.TrimPrefix(v.branch, "refs/heads/")
	if p.branch == "" {
		name, err := v.line(ctx, "symbolic-ref", "--quiet", "HEAD")
		if err != nil && exitCode(err) != 1 {
			return err
		}
		if !strings.HasPrefix(name, "refs/heads/") {
			return refused{"no branch is checked out", "name the branch to approve, or git switch to it"}
		}
		p.branch = strings.TrimPrefix(name, "refs/heads/")
	}
	var err error
	if p.tip, err = v.commit(ctx, p.fullBranch()); err != nil {
		return err
	}
	if p.tip == "" {
		return refused{"there is no local branch " + p.branch, "git fetch, then git switch " + p.branch}
	}
	p.tree, err = v.line(ctx, "rev-parse", "--verify", p.tip+"^{tree}")
	return err
}

// findTarget takes what is known here of the branch to merge into: nothing is
// fetched, so that what is approved is what the user has looked at.
func (v *approve) findTarget(ctx context.Context, p *proposal) error {
	names := v.known(v.ref, v.remote)
	if v.base != "" {
		names = []string{v.base}
	}
	for _, name := range names {
		id, err := v.commit(ctx, name)
		if err != nil {
			return err
		}
		if id == "" || id == p.tip && v.base == "" && name == p.fullBranch() {
			continue // a branch is no measure of itself
		}
		p.target, p.targetName = id, strings.TrimPrefix(strings.TrimPrefix(name, "refs/heads/"), "refs/remotes/")
		return nil
	}
	if v.base != "" {
		return refused{"--base " + v.base + " is no commit of this repository", "name a commit or a branch that is there"}
	}
	return refused{"nothing is known here of the last accepted " + v.ref, "git fetch, or name the commit to measure against with --base"}
}

func (v *approve) findBase(ctx context.Context, p *proposal) error {
	out, err := v.line(ctx, "merge-base", "--all", p.target, p.tip)
	if exitCode(err) == 1 {
		return refused{p.branch + " and " + p.targetName + " have no common history, and such a branch is never accepted", "make the change on a branch of " + p.targetName}
	}
	if err != nil {
		return err
	}
	bases := strings.Fields(out)
	p.base = bases[0]
	switch {
	case p.base == p.tip:
		return refused{"nothing to approve: " + p.targetName + " has all commits of " + p.branch, "name the branch that has the change, or with --base the last accepted commit"}
	case v.base != "" && p.base != p.target:
		return refused{p.branch + " does not descend from --base " + v.base, "merge " + v.base + " into " + p.branch + " first, or name another base"}
	case len(bases) > 1:
		return refused{
			p.branch + " and " + p.targetName + " were merged into one another crosswise: a person has to merge them, and approves all of it by that",
			"merge " + p.targetName + " into " + p.branch + " first (git merge -S), then approve",
		}
	}
	return nil
}

// policyAt reads the trust policy that will judge the merge (rule T8).
func (r repository) policyAt(ctx context.Context, commit string) (*trustpolicy.Policy, error) {
	hint := "approve against a branch that has a trust policy, see --ref and --base"
	name := commit + ":" + trustpolicy.DefaultPath
	size, err := r.line(ctx, "cat-file", "-s", name)
	if err != nil {
		return nil, refused{"there is no " + trustpolicy.DefaultPath + " in " + commit, hint}
	}
	if len(size) > 9 {
		return nil, refused{trustpolicy.DefaultPath + " is too large", hint}
	}
	data, err := r.git(ctx, nil, "cat-file", "blob", name)
	if err != nil {
		return nil, err
	}
	policy, err := trustpolicy.Decode(data, trustpolicy.DefaultPath)
	if err != nil {
		return nil, refused{fmt.Sprintf("%s of %s: %v", trustpolicy.DefaultPath, commit, err), hint}
	}
	return policy, nil
}

// changed lists the paths in which two commits differ, without renames: a
// rename is a deletion and an addition (rule T4).
func (r repository) changed(ctx context.Context, before, after string) ([]change, error) {
	out, err := r.git(ctx, nil, "diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", "--no-ext-diff", "--ignore-submodules=none", before, after)
	if err != nil {
		return nil, err
	}
	var changes []change
	fields := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	for i := 0; i+1 < len(fields); i += 2 {
		meta := strings.Fields(fields[i]) // :mode mode id id status
		if len(meta) != 5 {
			return nil, fmt.Errorf("git diff-tree answered with %q", shown(fields[i]))
		}
		changes = append(changes, change{path: fields[i+1], status: meta[4], entry: meta[1] + " " + meta[3]})
	}
	return changes, nil
}

// checkBehind looks at what the target changed since the branch left it. What
// both changed, a forge cannot merge mechanically (rule T6), and whoever merges
// it by hand makes content that this approval does not cover (rule T5).
func (v *approve) checkBehind(ctx context.Context, p proposal) error {
	theirs, err := v.changed(ctx, p.base, p.target)
	if err != nil {
		return err
	}
	known := map[string]string{}
	for _, c := range theirs {
		known[c.path] = c.entry
	}
	for _, c := range p.changes {
		if entry, ok := known[c.path]; ok && entry != c.entry {
			return refused{
				fmt.Sprintf("%s and %s both changed %s: the approval would not cover what a merge makes of it", p.branch, p.targetName, c.path),
				"merge " + p.targetName + " into " + p.branch + " first (git merge -S), then approve",
			}
		}
	}
	return nil
}

// maxCommits bounds the commits of a branch that are looked at, newest first.
const maxCommits = 200

// checkSigned looks for commits that would refuse the branch whoever approves
// it. It proves nothing; that is what millwright verify is for.
func (v *approve) checkSigned(ctx context.Context, p *proposal) error {
	ids, err := v.git(ctx, nil, "rev-list", fmt.Sprintf("--max-count=%d", maxCommits), p.tip, "^"+p.target)
	if err != nil {
		return err
	}
	p.signers, p.own = map[string]int{}, map[string]bool{}
	for id := range strings.FieldsSeq(string(ids)) {
		body, err := v.git(ctx, nil, "cat-file", "commit", id)
		if err != nil {
			return err
		}
		claim, err := gitverify.ClaimOfCommit(body)
		var no *gitverify.Refusal
		switch {
		case err == nil:
			who := shown(claim.Subject)
			p.signers[who]++
			p.own[who] = p.own[who] || !bytes.Contains(claim.Message, []byte("\n"+trailerKey))
		case errors.As(err, &no) && no.Code == "sig/missing":
			return refused{"commit " + id + " of " + p.branch + " is not signed, so that the branch is refused whoever approves it", "have its author sign it (git rebase --exec 'git commit --amend --no-edit -S' " + p.base[:12] + "), then approve the new one"}
		default:
			p.signers["a forge, or somebody without gitsign"]++
		}
	}
	return nil
}

// demandsOf collects the rules that the changes meet, in the policy's order.
func demandsOf(p proposal) ([]demand, error) {
	count := map[string]int{}
	byName := map[string]*trustpolicy.Rule{}
	for _, c := range p.changes {
		rules := p.policy.RulesFor(c.path)
		if len(rules) == 0 {
			return nil, refused{"no rule of the policy lets anybody change " + c.path, "have a rule for it added to " + trustpolicy.DefaultPath + " first"}
		}
		for _, r := range rules {
			count[r.Name]++
			byName[r.Name] = r
		}
	}
	var demands []demand
	for name, r := range byName {
		demands = append(demands, demand{r, count[name]})
	}
	slices.SortFunc(demands, func(a, b demand) int { return cmp.Compare(a.rule.Name, b.rule.Name) })
	return demands, nil
}

// shownPaths bounds a list for people; there is git diff for the rest.
const shownPaths = 20

// text says what would be approved.
func (p proposal) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s at %s, to be merged into %s of %s\n", shown(p.branch), p.tip[:12], p.ref, shown(p.repository))
	fmt.Fprintf(&b, "measured against %s at %s, policy version %d\n", shown(p.targetName), p.target[:12], p.policy.Version)
	for _, who := range slices.Sorted(maps.Keys(p.signers)) {
		fmt.Fprintf(&b, "%s signed as %s\n", counted(p.signers[who], "commit"), who)
	}
	b.WriteByte('\n')
	for i, c := range p.changes {
		if i == shownPaths {
			fmt.Fprintf(&b, "  and %d more\n", len(p.changes)-i)
			break
		}
		fmt.Fprintf(&b, "  %s %s\n", c.status, shown(c.path))
	}
	fmt.Fprintf(&b, "\nto read it: git diff %s %s\n\nthe policy asks:\n", p.base[:12], p.tip[:12])
	for _, d := range p.demands {
		fmt.Fprintf(&b, "  rule %s: %d of role %s (%s), for %s\n", d.rule.Name, d.rule.Threshold, d.rule.Role,
			strings.Join(p.policy.People(d.rule.Role), ", "), counted(d.paths, "path"))
	}
	var later []string
	for i := range p.policy.Rules {
		if r := &p.policy.Rules[i]; len(r.Paths) == 0 {
			later = append(later, r.Name)
		}
	}
	if len(later) > 0 {
		fmt.Fprintf(&b, "  after rendering also, if it is affected: rule %s\n", strings.Join(later, ", rule "))
	}
	if p.base != p.target {
		fmt.Fprintf(&b, "\n%s has gone on since; the two touch different files, so that a merge commit keeps this approval good\n", shown(p.targetName))
	}
	return b.String()
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
