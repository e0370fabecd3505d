package audit

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// files asks whether the manifests and lists that came along are those that
// records speak of. Their content was compared with their names when they were
// read.
func (a *auditor) files(context.Context) error {
	if len(a.e.Files) == 0 {
		a.answered(CheckFiles, LeftOut, "no manifests or lists came along")
		return nil
	}
	signed := map[string]bool{}
	for _, r := range a.report.Records {
		if !r.Verified {
			continue
		}
		s := r.Evidence.Statement
		signed[s.Manifests()], signed[s.Inventory()] = true, true
		if s.Enforcement == nil {
			signed[s.Predicate.Changes.Objects] = true
		}
	}
	known := 0
	for digest := range a.e.Files {
		if signed[digest] {
			known++
			continue
		}
		a.report.find(Finding{
			Check: CheckFiles, Answer: No, Code: CodeFileDigest, Detail: "no verified record speaks of the file with digest " + digest,
			Hint: "the file was put there by somebody else, or belongs to a record that does not verify",
		})
	}
	a.checked(CheckFiles, fmt.Sprintf("%d of %d manifests and lists are those of records", known, len(a.e.Files)))
	return nil
}

// freshness compares the newest proven time with the time of day.
func (a *auditor) freshness(context.Context) error {
	newest, what := time.Time{}, "nothing proves when the newest record was made"
	for _, r := range a.report.Records {
		if r.Verified && r.SignedAt != nil && r.SignedAt.After(newest) {
			newest = *r.SignedAt
		}
	}
	age := a.began.Sub(newest).Truncate(time.Second)
	if !newest.IsZero() {
		what = fmt.Sprintf("the newest record was signed at %s, %s before this audit", newest.UTC().Format(time.RFC3339), age)
	}
	switch {
	case a.o.MaxAge == 0:
		a.answered(CheckFreshness, LeftOut, what+"; nobody said how old it may be")
		return nil
	case newest.IsZero():
		a.open(CheckFreshness, CodeNoTime, 0, what, "records whose signatures are in a transparency log have a proven time")
	case age > a.o.MaxAge:
		a.report.find(Finding{
			Check: CheckFreshness, Answer: No, Code: CodeStale, Detail: fmt.Sprintf("%s, more than %s", what, a.o.MaxAge),
			Hint: "the factory stands still, or somebody keeps newer records back: look at the Factory's status",
		})
	}
	a.checked(CheckFreshness, what)
	return nil
}

// maxNamed bounds the objects that a finding names.
const maxNamed = 10

// live compares the newest record with the cluster.
func (a *auditor) live(ctx context.Context) error {
	if a.o.Live == nil {
		a.answered(CheckLive, LeftOut, "no cluster was looked at")
		return nil
	}
	n := len(a.revisions)
	if n == 0 || !a.revisions[n-1].proven {
		a.open(CheckLive, CodeLiveUnknown, 0, "the newest record or its commits do not verify, so there is nothing to compare with", "see what the other checks say")
		a.checked(CheckLive, "the cluster was not looked at")
		return nil
	}
	newest := a.revisions[n-1]
	found, err := a.o.Live(ctx, newest.statement, newest.verification)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.open(CheckLive, CodeLiveUnknown, a.report.Records[n-1].Sequence, err.Error(), "see whether the API server answers and may be asked")
	}
	if len(found.Different) > 0 {
		named := found.Different[:min(len(found.Different), maxNamed)]
		a.report.find(Finding{
			Check: CheckLive, Answer: No, Code: CodeLiveDiffers, Sequence: a.report.Records[n-1].Sequence,
			Detail: fmt.Sprintf("%d objects are not as the newest record says: %s", len(found.Different), strings.Join(named, ", ")),
			Hint:   "the controller puts drift back: see whether it runs, and who changed them",
		})
	}
	a.checked(CheckLive, fmt.Sprintf("%d objects of the cluster compared with the newest record", found.Looked))
	return nil
}
