package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Digest is "sha256:<hex>" of data.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// tidy brings what strangers can choose into bounds and gives empty lists one
// spelling. The input is not changed.
func tidy(p Predicate) Predicate {
	p.StartedOn, p.FinishedOn = utc(p.StartedOn), utc(p.FinishedOn)
	if p.Enforced != nil {
		enforced := p.Enforced.tidy()
		p.Enforced = &enforced
	}
	p.Health.Status, p.Health.Reason = clean(p.Health.Status, maxText), clean(p.Health.Reason, maxText)
	p.Target.KubernetesVersion = clean(p.Target.KubernetesVersion, maxText)
	p.PolicyTest.Policies = append([]TestedPolicy{}, p.PolicyTest.Policies...)
	p.Source.Range.Commits = append([]Commit{}, p.Source.Range.Commits...)
	for i, c := range p.Source.Range.Commits {
		p.Source.Range.Commits[i].SignedAt = utc(c.SignedAt)
	}
	rulings := make([]Ruling, 0, len(p.Source.Rulings.Entries))
	for _, r := range p.Source.Rulings.Entries {
		r.Rule, r.Role, r.Vouchers = manager(r.Rule), manager(r.Role), texts(r.Vouchers, MaxVouchers, manager)
		rulings = append(rulings, r)
	}
	p.Source.Rulings.Entries = rulings
	entries := make([]DriftEntry, 0, len(p.Drift.Entries))
	for _, e := range p.Drift.Entries[:min(len(p.Drift.Entries), MaxDrift)] {
		entries = append(entries, DriftEntry{
			Object: clean(e.Object, maxText), Action: clean(e.Action, maxText),
			Paths: texts(e.Paths, MaxPaths, path), Managers: texts(e.Managers, maxManagers, manager),
		})
	}
	p.Drift.Total = max(p.Drift.Total, len(p.Drift.Entries))
	p.Drift.Entries = entries
	return p
}

func texts(in []string, limit int, each func(string) string) []string {
	out := make([]string, 0, min(len(in), limit))
	for _, s := range in[:min(len(in), limit)] {
		out = append(out, each(s))
	}
	return out
}

func manager(s string) string { return clean(s, 128) }

// setElement finds where a path names an element of a set by its value:
// [="x"] in the printed form of managed fields, v:"x" in their JSON form.
var setElement = regexp.MustCompile(`\[=|(^|[^A-Za-z])v:`)

// path drops what follows: such an element is the value itself.
func path(s string) string {
	s = s[:min(len(s), 1024)]
	if at := setElement.FindStringIndex(s); at != nil {
		s = s[:at[1]] + "…"
	}
	return clean(s, 256)
}

// clean makes text one line of printable characters of at most limit bytes.
func clean(s string, limit int) string {
	// Cut first: what an attacker sends may be large. No rune that is kept
	// becomes shorter, so what is cut here would be cut below.
	if len(s) > 4*limit {
		s = s[:4*limit]
	}
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	cut := limit - len("…")
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

func (s Statement) validate() error {
	if s.Type != statementType {
		return fmt.Errorf("type is %q", clean(s.Type, maxText))
	}
	switch {
	case s.PredicateType == PredicateType && s.Enforcement == nil:
		return errors.Join(s.Predicate.validate(), s.validateSubjects("git+"+s.Predicate.Source.Repository))
	case s.PredicateType == EnforcementType && s.Enforcement != nil:
		return errors.Join(s.Enforcement.validate(), s.validateSubjects("git+"+s.Enforcement.Revision.Repository))
	}
	return fmt.Errorf("predicate type is %q", clean(s.PredicateType, maxText))
}

// validateSubjects ties the subjects to the predicate: what an auditor matches
// by digest is what the predicate speaks of.
func (s Statement) validateSubjects(repository string) error {
	p := s.Place()
	want := []string{subjectArtifact, subjectManifests, repository, subjectInventory}
	if len(s.Subject) != len(want) {
		return fmt.Errorf("%d subjects where there must be %d", len(s.Subject), len(want))
	}
	for i, sub := range s.Subject {
		if sub.Name != want[i] {
			return fmt.Errorf("subject %d is %q and should be %q", i, clean(sub.Name, maxText), clean(want[i], maxText))
		}
		isCommit := i == 2
		if isCommit && (sub.Digest.GitCommit != p.Commit || sub.Digest.SHA256 != "") {
			return errors.New("the subject's commit is not the source's")
		}
		if !isCommit && (!isHex(sub.Digest.SHA256, 64) || sub.Digest.GitCommit != "") {
			return fmt.Errorf("subject %q needs a sha256 digest", sub.Name)
		}
	}
	if "sha256:"+s.Subject[0].Digest.SHA256 != p.Artifact {
		return errors.New("the subject's artifact is not the rendered one")
	}
	return nil
}

func (p Predicate) validate() error {
	return errors.Join(p.place().validate(), p.validateNames(), p.validateTimes(), p.validateInputs(), p.validateSource(), p.validateOutcome())
}

func (p Predicate) validateNames() error {
	if err := errors.Join(requireText("source.repository", p.Source.Repository), requireText("source.ref", p.Source.Ref)); err != nil {
		return err
	}
	if !slices.Contains([]string{TriggerCommit, TriggerDrift, TriggerSchedule, TriggerBootstrap}, p.Trigger) {
		return fmt.Errorf("trigger is %q", clean(p.Trigger, maxText))
	}
	if !slices.Contains([]string{ResultApplied, ResultPartiallyApplied, ResultFailed}, p.Result) {
		return fmt.Errorf("result is %q", clean(p.Result, maxText))
	}
	return nil
}

func (p Predicate) validateTimes() error {
	if !isMoment(p.StartedOn) || !isMoment(p.FinishedOn) {
		return errors.New("startedOn and finishedOn must be UTC times of whole milliseconds")
	}
	if p.FinishedOn.Before(p.StartedOn) {
		return errors.New("finishedOn is before startedOn")
	}
	if p.Enforced == nil {
		return nil
	}
	if p.Sequence == 1 || !p.Enforced.To.Equal(p.StartedOn) {
		return errors.New("enforced is about what was in force until startedOn")
	}
	return p.Enforced.validate()
}

func (p Predicate) validateInputs() error {
	if len(p.Inputs) > maxInputs {
		return fmt.Errorf("more than %d inputs", maxInputs)
	}
	for _, in := range p.Inputs {
		if !isDigest(in.Attestation) || requireText("predicateType", in.PredicateType) != nil {
			return errors.New("an input without a type or digest")
		}
	}
	return nil
}

func (p Predicate) validateSource() error {
	s := p.Source
	if !isHex(s.Commit, 40) || !isHex(s.Anchor, 40) {
		return errors.New("source.commit and source.anchor must be full commit ids")
	}
	if !isDigest(s.PolicyDigest) || s.PolicyVersion < 0 {
		return errors.New("source.policyDigest or source.policyVersion is invalid")
	}
	r := s.Range
	if !isDigest(r.Digest) || r.Total < len(r.Commits) || len(r.Commits) > MaxRange || len(r.Commits) < min(r.Total, MaxRange) {
		return errors.New("source.range is out of bounds")
	}
	for _, c := range r.Commits {
		if err := c.validate(); err != nil {
			return fmt.Errorf("source.range: %w", err)
		}
	}
	if n := len(r.Commits); n > 0 && r.Commits[n-1].Commit != s.Commit {
		return errors.New("source.range does not end at source.commit")
	}
	return s.Rulings.validate()
}

// kinds of a commit: only a merge that adds nothing may be a forge's.
const kindMechanical = "mechanical"

func (c Commit) validate() error {
	if !isHex(c.Commit, 40) || c.SignedAt.Location() != time.UTC || !slices.Contains([]string{"content", "merge", "approval", kindMechanical}, c.Kind) {
		return errors.New("an invalid commit")
	}
	if c.Forge != "" {
		if c.Kind != kindMechanical || !c.SignedAt.IsZero() || c.Signer != (Signed{}) {
			return errors.New("a forge signs merges that add nothing, and proves no time")
		}
		return requireText("forge", c.Forge)
	}
	if c.SignedAt.IsZero() {
		return errors.New("a commit without a proven time")
	}
	return errors.Join(requireText("issuer", c.Signer.Issuer), requireText("subject", c.Signer.Subject))
}

func (r Rulings) validate() error {
	if r.Total < len(r.Entries) || len(r.Entries) > MaxRulings || len(r.Entries) < min(r.Total, MaxRulings) {
		return errors.New("source.rulings is out of bounds")
	}
	for _, e := range r.Entries {
		if !isHex(e.Commit, 40) || e.Threshold < 1 || len(e.Vouchers) > MaxVouchers || len(e.Vouchers) < min(e.Threshold, MaxVouchers) {
			return errors.New("source.rulings has an invalid ruling")
		}
		if err := errors.Join(requireText("rule", e.Rule), requireText("role", e.Role)); err != nil {
			return err
		}
	}
	return nil
}

func (p Predicate) validateOutcome() error {
	c := p.Changes
	if min(c.Created, c.Updated, c.Corrected, c.Pruned, c.Unchanged, c.Failed, p.Rendered.Objects) < 0 {
		return errors.New("a count is negative")
	}
	if slices.ContainsFunc([]string{p.Rendered.Digest, p.Rendered.Artifact, c.Objects, c.Root}, func(s string) bool { return !isDigest(s) }) {
		return errors.New("rendered.digest, rendered.artifact, changes.objects and changes.root must be sha256 digests")
	}
	if len(p.PolicyTest.Policies) > maxPolicies {
		return fmt.Errorf("more than %d policies", maxPolicies)
	}
	for _, pol := range p.PolicyTest.Policies {
		if !isDigest(pol.Digest) || pol.Matched < 0 || requireText("name", pol.Name) != nil {
			return fmt.Errorf("policy %q is invalid", clean(pol.Name, maxText))
		}
	}
	if p.Drift.Total < len(p.Drift.Entries) || len(p.Drift.Entries) > MaxDrift {
		return errors.New("drift is out of bounds")
	}
	for _, e := range p.Drift.Entries {
		if len(e.Paths) > MaxPaths || len(e.Managers) > maxManagers || requireText("object", e.Object) != nil {
			return fmt.Errorf("drift of %q is out of bounds", clean(e.Object, maxText))
		}
	}
	return requireText("health.status", p.Health.Status)
}

func requireText(what, s string) error {
	if s == "" || s != clean(s, maxText) {
		return fmt.Errorf("%s is empty, too long or not printable", what)
	}
	return nil
}

func isDigest(s string) bool { return strings.HasPrefix(s, "sha256:") && isHex(bare(s), 64) }

func bare(digest string) string { return strings.TrimPrefix(digest, "sha256:") }

func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}
