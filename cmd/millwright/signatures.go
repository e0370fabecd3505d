package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"millwright.dev/millwright/gitverify"
)

// signatures is the answer of verify --signatures: who signed what, and what is
// missing of the others. Nobody's rights are asked.
type signatures struct {
	// Answer is yes if every commit's signature is proven.
	Answer string `json:"answer"`
	Base   string `json:"base"`
	Head   string `json:"head"`
	Proven int    `json:"proven"`
	// Commits have children before their parents.
	Commits []signedCommit `json:"commits"`
	// Missing counts the codes of those that are not proven.
	Missing []missing `json:"missing"`
}

type signedCommit struct {
	Commit   string       `json:"commit"`
	Subject  string       `json:"subject,omitempty"`
	Issuer   string       `json:"issuer,omitempty"`
	SignedAt *time.Time   `json:"signedAt,omitempty"`
	LogIndex int64        `json:"logIndex"`
	Refusal  *explainedNo `json:"refusal,omitempty"`
}

// missing is one thing that commits lack, and what would mend it.
type missing struct {
	Reason string `json:"reason"`
	Code   string `json:"code"`
	Count  int    `json:"count"`
	Hint   string `json:"hint"`
}

// signatures proves every signature of the range, and prints who made what.
func (v *verify) signatures(ctx context.Context, a *app, verifier *gitverify.Verifier, objects gitverify.Objects, base, head gitverify.ID) error {
	if v.out == outputMarkdown {
		return usageError{fmt.Errorf("--signatures prints text or json, not markdown")}
	}
	all, err := verifier.Signatures(ctx, objects, base, head)
	if err != nil {
		return err
	}
	s := signaturesOf(base, head, all)
	if err := a.print(v.out, s, s.text); err != nil {
		return err
	}
	if s.Answer != answerYes {
		return errNo
	}
	return nil
}

func signaturesOf(base, head gitverify.ID, all []gitverify.Signed) signatures {
	s := signatures{Answer: answerYes, Base: string(base), Head: string(head), Commits: []signedCommit{}, Missing: []missing{}}
	lacking := map[string]missing{}
	for _, one := range all {
		c := signedCommit{Commit: string(one.Commit), Subject: one.Subject, Issuer: one.Issuer, LogIndex: one.LogIndex}
		if no := one.Refusal; no != nil {
			s.Answer = answerNo
			c.Refusal = &explainedNo{
				Reason: no.Reason, Code: no.Code, Commit: string(no.Commit), Detail: no.Detail, Hint: no.Hint, Needs: []explainedRuling{},
			}
			m := lacking[no.Code]
			lacking[no.Code] = missing{Reason: no.Reason, Code: no.Code, Count: m.Count + 1, Hint: no.Hint}
		} else {
			at := one.SignedAt.UTC()
			c.SignedAt = &at
			s.Proven++
		}
		s.Commits = append(s.Commits, c)
	}
	s.Missing = slices.SortedFunc(maps.Values(lacking), func(a, b missing) int {
		return cmp.Or(b.Count-a.Count, strings.Compare(a.Code, b.Code))
	})
	return s
}

func (s signatures) text() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range s.Commits {
		if c.Refusal != nil {
			fmt.Fprintf(w, "%s\tnot proven\t%s\t%s\n", short(c.Commit), c.Refusal.Code, shown(c.Refusal.Detail))
			continue
		}
		log := "no promise of a log"
		if c.LogIndex >= 0 {
			log = fmt.Sprintf("log %d", c.LogIndex)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s of %s\n", short(c.Commit), c.SignedAt.Format(time.RFC3339), log, shown(c.Subject), shown(c.Issuer))
	}
	_ = w.Flush()
	fmt.Fprintf(&b, "%s: %s of %s proven; no trust policy was asked\n", s.Answer, counted(s.Proven, "signature"), counted(len(s.Commits), "commit"))
	for _, m := range s.Missing {
		fmt.Fprintf(&b, "  %d lack %s (%s): %s\n", m.Count, m.Reason, m.Code, m.Hint)
	}
	return b.String()
}
