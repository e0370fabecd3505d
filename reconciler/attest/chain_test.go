package attest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"millwright.dev/millwright/reconciler/attest"
)

const otherCluster = "99999999-2a52-4c57-9a55-54d3c1a0f1d2"

func codes(r attest.Report) []string {
	out := []string{}
	for _, f := range r.Findings {
		if !slices.Contains(out, f.Code) {
			out = append(out, f.Code)
		}
	}
	slices.Sort(out)
	return out
}

func TestAuditAcceptsAWholeChainAndNamesWhatIsWrongWithAnother(t *testing.T) {
	t.Parallel()
	key, stranger := newKey(t), newKey(t)
	good := chain(t, attest.KeyFile{Key: key}, 4)
	elsewhere := chain(t, attest.KeyFile{Key: key}, 4, func(p *attest.Predicate) { p.Target.ClusterUID = otherCluster })
	otherFactory := chain(t, attest.KeyFile{Key: key}, 4, func(p *attest.Predicate) { p.Factory.Name = "other" })
	foreign := chain(t, attest.KeyFile{Key: stranger}, 4)
	twin := chain(t, attest.KeyFile{Key: key}, 2)
	inconsistent := chain(t, attest.KeyFile{Key: key}, 2, func(p *attest.Predicate) {
		if p.Previous != nil {
			p.Previous.GitCommit = commitB
		}
	})
	head := good[3].Digest
	cluster := predicate(t).Target.ClusterUID
	edit := func(change func([]attest.Record) []attest.Record) []attest.Record { return change(slices.Clone(good)) }
	for name, c := range map[string]struct {
		records []attest.Record
		opts    attest.Options
		want    []string
	}{
		"a whole chain":                {good, attest.Options{ClusterUID: cluster, Factory: predicate(t).Factory, Head: head}, nil},
		"a whole chain, nothing known": {good, attest.Options{}, nil},
		"records in any order":         {edit(func(r []attest.Record) []attest.Record { slices.Reverse(r); return r }), attest.Options{Head: head}, nil},
		"one record":                   {good[:1], attest.Options{}, nil},
		"nothing":                      {nil, attest.Options{}, []string{attest.CodeChainEmpty}},
		"the newest cut off":           {good[:3], attest.Options{Head: head}, []string{attest.CodeChainHead}},
		"the oldest cut off":           {good[1:], attest.Options{}, []string{attest.CodeChainGap}},
		"a record left out":            {edit(func(r []attest.Record) []attest.Record { return slices.Delete(r, 1, 2) }), attest.Options{}, []string{attest.CodeChainGap}},
		"a record twice":               {edit(func(r []attest.Record) []attest.Record { return append(r, r[3]) }), attest.Options{}, []string{attest.CodeChainGap}},
		"a record left out and the rest renumbered": {edit(func(r []attest.Record) []attest.Record {
			r = slices.Delete(r, 1, 2)
			r[1].Sequence, r[2].Sequence = 2, 3
			return r
		}), attest.Options{}, []string{attest.CodeChainPrevious, attest.CodeRecordSequence}},
		"two bundles swapped": {edit(func(r []attest.Record) []attest.Record {
			r[1].Bundle, r[2].Bundle = r[2].Bundle, r[1].Bundle
			return r
		}), attest.Options{}, []string{attest.CodeChainCommit, attest.CodeChainPrevious, attest.CodeRecordDigest, attest.CodeRecordSequence}},
		"two bundles swapped with their digests": {edit(func(r []attest.Record) []attest.Record {
			r[1], r[2] = r[2], r[1]
			r[1].Sequence, r[2].Sequence = 2, 3
			return r
		}), attest.Options{}, []string{attest.CodeChainPrevious, attest.CodeRecordSequence}},
		"the commit edited":   {edit(func(r []attest.Record) []attest.Record { r[2].Commit = commitB; return r }), attest.Options{}, []string{attest.CodeChainCommit}},
		"the digest edited":   {edit(func(r []attest.Record) []attest.Record { r[2].Digest = digest("9"); return r }), attest.Options{}, []string{attest.CodeRecordDigest}},
		"the previous edited": {edit(func(r []attest.Record) []attest.Record { r[2].Previous = digest("9"); return r }), attest.Options{}, []string{attest.CodeChainPrevious}},
		"a byte of a bundle edited": {edit(func(r []attest.Record) []attest.Record {
			r[3].Bundle = strings.Replace(r[3].Bundle, `"payload":"ey`, `"payload":"eX`, 1)
			return r
		}), attest.Options{}, []string{attest.CodeBundleInvalid, attest.CodeRecordDigest}},
		"a record of a twin chain": {[]attest.Record{good[0], {
			Sequence: 2, Commit: twin[1].Commit, Digest: twin[1].Digest, Bundle: twin[1].Bundle, Previous: good[0].Digest,
		}}, attest.Options{}, []string{attest.CodeChainPrevious}},
		"a record that follows another commit": {inconsistent, attest.Options{}, []string{attest.CodeChainCommit}},
		"a chain of another cluster":           {elsewhere, attest.Options{ClusterUID: cluster}, []string{attest.CodeChainCluster}},
		"its twin in its own cluster":          {elsewhere, attest.Options{ClusterUID: otherCluster}, nil},
		"one record of another cluster":        {edit(func(r []attest.Record) []attest.Record { r[0] = elsewhere[0]; return r }), attest.Options{}, []string{attest.CodeChainCluster, attest.CodeChainPrevious}},
		"a chain of another factory":           {otherFactory, attest.Options{Factory: predicate(t).Factory}, []string{attest.CodeChainFactory}},
		"a chain signed by a stranger":         {foreign, attest.Options{}, []string{attest.CodeBundleInvalid}},
		"a bundle that is not one":             {edit(func(r []attest.Record) []attest.Record { r[3].Bundle = "{}"; return r }), attest.Options{}, []string{attest.CodeBundleInvalid, attest.CodeRecordDigest}},
		"a sequence below one":                 {edit(func(r []attest.Record) []attest.Record { r[0].Sequence = 0; return r }), attest.Options{}, []string{attest.CodeChainGap, attest.CodeRecordSequence}},
		"a chain that starts over elsewhere":   {append(slices.Clone(good[:2]), elsewhere[2:]...), attest.Options{}, []string{attest.CodeChainCluster, attest.CodeChainPrevious}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.opts.Policies = []attest.Policy{offline(key)}
			report, err := attest.Audit(c.records, c.opts)
			if err != nil {
				t.Fatal(err)
			}
			if got := codes(report); !slices.Equal(got, c.want) {
				t.Errorf("findings are %v, want %v\n%s", got, c.want, report.Text())
			}
			if report.OK != (len(c.want) == 0) || len(report.Records) != len(c.records) {
				t.Errorf("ok is %v with %d records\n%s", report.OK, len(report.Records), report.Text())
			}
		})
	}
}

func TestAChainMayBeContinuedByASecondSignerThatTheAuditorNames(t *testing.T) {
	t.Parallel()
	first, second := newKey(t), newKey(t)
	n := 0
	both := signerFunc(func(ctx context.Context, s attest.Statement) (attest.Bundle, error) {
		if n++; n < 3 {
			return attest.KeyFile{Key: first}.Sign(ctx, s)
		}
		return attest.KeyFile{Key: second}.Sign(ctx, s)
	})
	records := chain(t, both, 4)
	for name, c := range map[string]struct {
		policies []attest.Policy
		ok       bool
	}{
		"both": {[]attest.Policy{offline(second), offline(first)}, true},
		"one":  {[]attest.Policy{offline(first)}, false},
	} {
		report, err := attest.Audit(records, attest.Options{Policies: c.policies})
		if err != nil || report.OK != c.ok {
			t.Errorf("%s: %v\n%s", name, err, report.Text())
		}
	}
}

// signerFunc is a function as a signer.
type signerFunc func(context.Context, attest.Statement) (attest.Bundle, error)

func (f signerFunc) Sign(ctx context.Context, s attest.Statement) (attest.Bundle, error) {
	return f(ctx, s)
}

func TestAuditIsNotMadeWithoutAPolicy(t *testing.T) {
	t.Parallel()
	records := chain(t, attest.KeyFile{Key: newKey(t)}, 1)
	_, err := attest.Audit(records, attest.Options{})
	var no *attest.Refusal
	if err == nil || errors.As(err, &no) {
		t.Errorf("want an inability, got %v", err)
	}
}
