package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/report"
)

// explanation is the answer of verify. The names of its fields in JSON are
// described in docs/verify.md; they are only ever added to.
type explanation struct {
	// Answer is yes or no.
	Answer string `json:"answer"`
	Ref    string `json:"ref"`
	// Anchor, Floor and Commit are what was asked; Accepted is how far it goes.
	Anchor   string `json:"anchor"`
	Floor    string `json:"floor,omitempty"`
	Commit   string `json:"commit"`
	Accepted string `json:"accepted"`
	// The policy in force at the commit; there is none to name after a no.
	PolicyVersion int64  `json:"policyVersion,omitempty"`
	PolicyDigest  string `json:"policyDigest,omitempty"`
	// Steps are accepted, Pending is the unit that is not accepted yet.
	Steps   []explainedStep `json:"steps"`
	Pending *explainedStep  `json:"pending,omitempty"`
	Refusal *explainedNo    `json:"refusal,omitempty"`
	// Tag is the verified tag, where HEAD is one.
	Tag *explainedTag `json:"tag,omitempty"`
	// AfterRendering are overlays and objects whose rules are judged only once
	// the commit is rendered.
	AfterRendering *afterRendering    `json:"afterRendering,omitempty"`
	Revoked        []explainedRevoked `json:"revoked,omitempty"`
}

type explainedStep struct {
	Commit        string            `json:"commit"`
	PolicyVersion int64             `json:"policyVersion"`
	Commits       []explainedCommit `json:"commits"`
	Rulings       []explainedRuling `json:"rulings"`
	// Void are approvals by people who are still asked for: of other content, or
	// for another branch.
	Void []string `json:"void,omitempty"`
}

type explainedCommit struct {
	Commit string `json:"commit"`
	// Kind is content, merge, approval or mechanical.
	Kind string `json:"kind"`
	// Name and Person are the policy's, Subject and Issuer the certificate's;
	// they are empty where Forge names the forge key that signed.
	Name    string `json:"name,omitempty"`
	Person  string `json:"person,omitempty"`
	Subject string `json:"subject,omitempty"`
	Issuer  string `json:"issuer,omitempty"`
	Forge   string `json:"forge,omitempty"`
	// SignedAt is proven, and absent for a forge key, which proves no time.
	SignedAt *time.Time `json:"signedAt,omitempty"`
	LogIndex int64      `json:"logIndex"`
	Payload  string     `json:"payload,omitempty"`
	Warnings []string   `json:"warnings,omitempty"`
}

type explainedRuling struct {
	Rule       string   `json:"rule"`
	Role       string   `json:"role"`
	Threshold  int      `json:"threshold"`
	Paths      []string `json:"paths"`
	PathCount  int      `json:"pathCount"`
	Vouchers   []string `json:"vouchers"`
	Missing    int      `json:"missing"`
	Candidates []string `json:"candidates"`
}

type explainedNo struct {
	Reason string            `json:"reason"`
	Code   string            `json:"code"`
	Commit string            `json:"commit,omitempty"`
	Path   string            `json:"path,omitempty"`
	Detail string            `json:"detail"`
	Hint   string            `json:"hint"`
	Needs  []explainedRuling `json:"needs"`
}

type explainedTag struct {
	Name     string    `json:"name"`
	Subject  string    `json:"subject"`
	Issuer   string    `json:"issuer"`
	SignedAt time.Time `json:"signedAt"`
}

type afterRendering struct {
	Overlays []string `json:"overlays"`
}

type explainedRevoked struct {
	Commit string `json:"commit"`
	Why    string `json:"why"`
}

const (
	answerYes = "yes"
	answerNo  = "no"
)

func (e explanation) commits() int {
	n := 0
	for _, s := range e.Steps {
		n += len(s.Commits)
	}
	return n
}

// from is where the steps begin.
func (e explanation) from() string { return cmp.Or(e.Floor, e.Anchor) }

// missing are the rules that ask for more people.
func (n explainedNo) missing() []explainedRuling {
	return slices.DeleteFunc(slices.Clone(n.Needs), func(r explainedRuling) bool { return r.Missing == 0 })
}

// voidApprovals finds the approvals that a reader of a refusal would count.
func (s explainedStep) voidApprovals() []string {
	var void []string
	for _, c := range s.Commits {
		asked := func(r explainedRuling) bool { return r.Missing > 0 && slices.Contains(r.Candidates, c.Person) }
		if c.Kind == string(gitverify.KindApproval) && slices.ContainsFunc(s.Rulings, asked) {
			void = append(void, c.Commit)
		}
	}
	return void
}

// approver is the person who signed one of the commits.
func (s explainedStep) approver(commit string) string {
	for _, c := range s.Commits {
		if c.Commit == commit {
			return shown(c.Person)
		}
	}
	return ""
}

const voidWhy = "does not cover this change: the files changed after it, or it names another branch"

// needs is the sentence that says who has to do something.
func (r explainedRuling) needs() string {
	s := fmt.Sprintf("needs %d more of role %s", r.Missing, shown(r.Role))
	if len(r.Candidates) == 0 {
		return s + ", and nobody who has it is left"
	}
	return s + ": " + either(r.Candidates)
}

// either lists people of whom any will do.
func either(people []string) string {
	people = shownAll(people)
	if len(people) == 1 {
		return people[0]
	}
	return strings.Join(people[:len(people)-1], ", ") + " or " + people[len(people)-1]
}

func (c explainedCommit) who() string {
	switch {
	case c.Forge != "":
		return "forge key " + shown(c.Forge)
	case c.Subject != "":
		return shown(c.Subject)
	}
	return "nobody"
}

func (c explainedCommit) when() string {
	if c.SignedAt == nil {
		return "time not proven"
	}
	return c.SignedAt.Format(time.RFC3339)
}

func short(id string) string { return id[:min(12, len(id))] }

// shown makes text that a stranger may have written fit for a screen: one
// bounded line of visible characters (row D34).
func shown(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, report.OneLine(s))
}

func shownAll(list []string) []string {
	all := make([]string, 0, len(list))
	for _, s := range list {
		all = append(all, shown(s))
	}
	return all
}
