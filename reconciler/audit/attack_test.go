package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/audit"
	"millwright.dev/millwright/reconciler/audit/audittest"
)

// sign gives the records after it to another signer.
func (w *floor) sign(change func(*sigstoretest.SignOptions)) {
	w.Sign = func(statement []byte) ([]byte, error) {
		o := sigstoretest.SignOptions{Subject: audittest.Reconciler, Issuer: audittest.Workloads, IssuedAt: w.Virtual.Now().Add(time.Hour)}
		change(&o)
		return w.Virtual.SignStatement(statement, o)
	}
}

// Three good revisions, then one that is bad in one way, then a good one: the
// audit says no about that one, by its name, and goes on with the last.
func TestARecordThatIsBadIsNamedAndTheRestIsAudited(t *testing.T) {
	t.Parallel()
	edit := func(change func(*attest.Predicate)) func(*floor) {
		return func(w *floor) { w.Edit = change }
	}
	for name, c := range map[string]struct {
		spoil func(*floor)
		codes []string
	}{
		"F10 signed by another subject":        {func(w *floor) { w.sign(func(o *sigstoretest.SignOptions) { o.Subject += "x" }) }, []string{attest.CodeBundleIdentity}},
		"F10 signed by the subject of another": {func(w *floor) { w.sign(func(o *sigstoretest.SignOptions) { o.Issuer += "/" }) }, []string{attest.CodeBundleIdentity}},
		"F10 signed under another authority":   {func(w *floor) { w.sign(func(o *sigstoretest.SignOptions) { o.ForeignCA = true }) }, []string{attest.CodeBundleInvalid}},
		"F10 logged in another log":            {func(w *floor) { w.sign(func(o *sigstoretest.SignOptions) { o.ForeignLog = true }) }, []string{attest.CodeBundleInvalid}},
		"F10 logged nowhere":                   {func(w *floor) { w.sign(func(o *sigstoretest.SignOptions) { o.NoLogEntry = true }) }, []string{attest.CodeBundleInvalid}},
		"F10 made for another cluster":         {edit(func(p *attest.Predicate) { p.Target.ClusterUID = "99999999-2a52-4c57-9a55-54d3c1a0f1d2" }), []string{attest.CodeChainCluster}},
		"F10 made for another factory":         {edit(func(p *attest.Predicate) { p.Factory.Name = "other" }), []string{attest.CodeChainFactory}},
		"F10 another commit in the range": {edit(func(p *attest.Predicate) {
			p.Source.Range.Commits = slices.Clone(p.Source.Range.Commits)
			p.Source.Range.Total, p.Source.Range.Digest = 2, attest.Digest(nil)
			p.Source.Range.Commits = append([]attest.Commit{p.Source.Range.Commits[0]}, p.Source.Range.Commits...)
		}), []string{audit.CodeSourceRange}},
		"F10 another signer of the commit": {edit(func(p *attest.Predicate) {
			commits := slices.Clone(p.Source.Range.Commits)
			commits[0].Signer.Subject, commits[0].Signer.Name = "mallory@factory.test", "mallory"
			p.Source.Range, _ = attest.NewRange(commits)
		}), []string{audit.CodeSourceRange}},
		"F10 another policy":            {edit(func(p *attest.Predicate) { p.Source.PolicyVersion++ }), []string{audit.CodeSourcePolicy}},
		"F10 another repository":        {edit(func(p *attest.Predicate) { p.Source.Repository = "millwright.dev/other" }), []string{audit.CodeSourceOrigin}},
		"F10 somebody else who vouched": {edit(func(p *attest.Predicate) { p.Source.Rulings.Entries[0].Vouchers = []string{"carol"} }), []string{audit.CodeSourceRulings}},
		"F10 a rule that was never asked": {edit(func(p *attest.Predicate) {
			p.Source.Rulings.Entries = append(p.Source.Rulings.Entries, p.Source.Rulings.Entries[0])
			p.Source.Rulings.Total++
		}), []string{audit.CodeSourceRulings}},
		"F10 an anchor from elsewhere":         {edit(func(p *attest.Predicate) { p.Source.Anchor = strings.Repeat("1", 40) }), []string{audit.CodeAnchor}},
		"F10 other manifests":                  {edit(func(p *attest.Predicate) { p.Rendered.Digest = attest.Digest([]byte("x")) }), []string{audit.CodeRenderDiffers}},
		"F10 another number of objects":        {edit(func(p *attest.Predicate) { p.Rendered.Objects++ }), []string{audit.CodeRenderDiffers}},
		"F10 an environment that there is not": {edit(func(p *attest.Predicate) { p.Target.Environment = "mars" }), []string{audit.CodeRenderFailed}},
		"B32 a predicate that cannot be read": {func(w *floor) {
			sign := w.Sign
			w.Sign = func(s []byte) ([]byte, error) {
				return sign(bytes.Replace(s, []byte(`"predicate":{`), []byte(`"predicate":{"extra":1,`), 1))
			}
		}, []string{attest.CodeStatementInvalid}},
		"B32 a predicate of another type": {func(w *floor) {
			sign := w.Sign
			w.Sign = func(s []byte) ([]byte, error) {
				return sign(bytes.Replace(s, []byte(attest.PredicateType), []byte("https://slsa.dev/provenance/v1"), 1))
			}
		}, []string{attest.CodeBundlePredicate}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFloor(t, 3)
			good := w.Sign
			c.spoil(w)
			w.change(audittest.Alice, "bad")
			w.Sign, w.Edit = good, nil
			w.change(audittest.Bob, "good again")
			r := w.audit(w.export(w.evidence()), w.options())
			for _, f := range r.Findings {
				if f.Sequence != 4 && f.Answer == audit.No {
					t.Errorf("it is about record %d: %+v", f.Sequence, f)
				}
			}
			want(t, withoutOpen(r), audit.No, c.codes...)
			if last := r.Records[4]; !last.Verified || last.Source != audit.Yes || last.Rendered != audit.Yes {
				t.Errorf("the last record is not audited any more: %+v\n%s", last, r.Text())
			}
		})
	}
}

// withoutOpen leaves out what only follows from a no.
func withoutOpen(r audit.Report) audit.Report {
	r.Findings = slices.DeleteFunc(slices.Clone(r.Findings), func(f audit.Finding) bool { return f.Answer == audit.Unknown })
	return r
}

// A reconciler that signs for what nobody allowed is not believed: the commits
// are gone over again.
func TestCommitsThatNobodyMayMakeAreFoundWhateverWasSigned(t *testing.T) { // row F10
	t.Parallel()
	for name, c := range map[string]struct{ who, code string }{
		"an unsigned commit":     {"", "sig/missing"},
		"a commit by a stranger": {"mallory@factory.test", "id/subject"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newFloor(t, 2)
			bad, err := w.Commit(c.who, "evil", map[string]string{"overlays/production/app/config.yaml": audittest.ConfigMap("evil")})
			w.must(err)
			// The reconciler signs the second revision's words for the bad commit.
			v, err := attest.VerifyBundle([]byte(w.Records[1].Bundle), w.options().TrustedRoot, w.options().Signers[0])
			w.must(err)
			p := v.Statement.Predicate
			p.Sequence, p.Source.Commit = 3, string(bad)
			p.Previous = &attest.Previous{Sequence: 2, GitCommit: w.Records[1].Commit, Attestation: w.Records[1].Digest}
			p.Source.Range.Commits = slices.Clone(p.Source.Range.Commits)
			p.Source.Range.Commits[0].Commit = string(bad)
			s, err := attest.NewStatement(attest.Subjects{Artifact: v.Statement.Artifact(), Manifests: v.Statement.Manifests(), Inventory: v.Statement.Inventory()}, p)
			w.must(err)
			w.must(w.Append(s))
			r := w.audit(w.export(w.evidence()), w.options())
			want(t, withoutOpen(r), audit.No, c.code)
		})
	}
}

// A reconciler that does not ask who has to stand behind what a change affects.
func TestAChangeThatNobodyWithTheRightStandsBehindIsFound(t *testing.T) { // rule T12
	t.Parallel()
	w := newFloor(t, 1)
	_, err := w.Commit(audittest.Alice, "production needs security from now on", map[string]string{
		"factory-config/trust/policy.yaml": strings.Replace(audittest.Policy, "version: 1\n", "version: 2\n", 1) +
			"  - {name: production, affects: [overlays/production], role: security, threshold: 1}\n",
	})
	w.must(err)
	w.must(w.Apply(t.Context()))
	w.change(audittest.Bob, "without security")
	want(t, w.run(w.evidence(), w.options()), audit.No, "rule/affects")
	o := w.options()
	o.SkipRender = true
	want(t, w.run(w.evidence(), o), audit.Unknown, audit.CodePermitUnasked)
}

// Whichever record is taken away: a yes does not survive it.
func TestWithoutAnyRecordTheAnswerIsNotYes(t *testing.T) { // row F11
	t.Parallel()
	w := newFloor(t, 4)
	w.must(w.Keep(attest.TriggerSchedule, attest.Stretch{Looks: 1, Objects: 1}))
	want(t, w.audit(w.export(w.evidence()), w.options()), audit.Yes)
	for i := range w.Records {
		for _, known := range []bool{true, false} {
			e, o := w.evidence(), w.options()
			e.Records = slices.Delete(e.Records, i, i+1)
			if !known {
				o.Head = ""
			}
			if r := w.audit(w.export(e), o); r.Answer == audit.Yes || known && r.Answer != audit.No {
				t.Errorf("without record %d, the newest known: %v: %q\n%s", i+1, known, r.Answer, r.Text())
			}
		}
	}
}

// remake edits the files of an export.
func remake(t *testing.T, export []byte, change func([]member) []member) []byte {
	t.Helper()
	return pack(t, change(members(t, export)))
}

// editIndex changes the index of an export.
func editIndex(t *testing.T, change func(map[string]any)) func([]member) []member {
	return func(all []member) []member {
		var i map[string]any
		if err := json.Unmarshal(all[0].data, &i); err != nil {
			t.Error(err)
		}
		change(i)
		data, err := json.Marshal(i)
		if err != nil {
			t.Error(err)
		}
		all[0].data = data
		return all
	}
}

func at(name string, change func(m *member)) func([]member) []member {
	return func(all []member) []member {
		for i := range all {
			if all[i].name == name {
				change(&all[i])
			}
		}
		return all
	}
}

const second = "records/0000000002.json"

// An export may be edited by whoever carries it. What is wrong is named, the rest
// is audited, and the answer is no.
func TestAnExportThatWasEditedIsRefusedAndAuditedAllTheSame(t *testing.T) { // row F10
	t.Parallel()
	w := newFloor(t, 3)
	good := w.export(w.evidence())
	other := newFloor(t, 3)
	foreign := members(t, other.export(other.evidence()))
	without := func(name string) func([]member) []member {
		return func(all []member) []member {
			return slices.DeleteFunc(all, func(m member) bool { return m.name == name })
		}
	}
	for name, c := range map[string]struct {
		change func([]member) []member
		codes  []string
	}{
		"a bundle is missing": {without(second), []string{audit.CodeExportMissing, attest.CodeChainGap}},
		"a bundle is cut off": {at(second, func(m *member) { m.data = m.data[:len(m.data)/2] }), []string{attest.CodeBundleInvalid, attest.CodeRecordDigest, attest.CodeChainPrevious}},
		"a bundle has 100 MB": {at(second, func(m *member) { m.data = append(m.data, bytes.Repeat([]byte(" "), 100<<20)...) }), []string{audit.CodeBundleTooLarge, attest.CodeChainGap}},
		"a byte of a payload": {at(second, func(m *member) { m.data = bytes.Replace(m.data, []byte(`"payload":"ey`), []byte(`"payload":"eX`), 1) }), []string{attest.CodeBundleInvalid, attest.CodeRecordDigest, attest.CodeChainPrevious}},
		"two bundles are swapped": {func(all []member) []member {
			at(second, func(m *member) { m.name = "x" })(all)
			at("records/0000000003.json", func(m *member) { m.name = second })(all)
			return at("x", func(m *member) { m.name = "records/0000000003.json" })(all)
		}, []string{attest.CodeRecordDigest, attest.CodeChainPrevious, attest.CodeRecordSequence, attest.CodeChainCommit, attest.CodeChainHead}},
		"a bundle of another factory's export": {at(second, func(m *member) { m.data = foreign[2].data }), []string{attest.CodeBundleInvalid, attest.CodeRecordDigest, attest.CodeChainPrevious}},
		"the index says another cluster":       {editIndex(t, func(i map[string]any) { i["clusterUID"] = "other" }), nil},
		"the index leaves a record out": {editIndex(t, func(i map[string]any) {
			i["records"] = slices.Delete(i["records"].([]any), 1, 2)
		}), []string{audit.CodeExportForeign, attest.CodeChainGap}},
		"the index says another commit": {editIndex(t, func(i map[string]any) {
			i["records"].([]any)[1].(map[string]any)["commit"] = strings.Repeat("1", 40)
		}), []string{attest.CodeChainCommit}},
		"the index numbers otherwise": {editIndex(t, func(i map[string]any) {
			i["records"].([]any)[2].(map[string]any)["sequence"] = 4
		}), []string{attest.CodeChainGap, attest.CodeRecordSequence}},
		"a file that nobody asked for": {func(all []member) []member { return append(all, member{"../../etc/passwd", []byte("x")}) }, []string{audit.CodeExportForeign}},
		"a file twice":                 {func(all []member) []member { return append(all, all[1]) }, []string{audit.CodeExportForeign}},
		"the history is another's": {at("source.bundle", func(m *member) {
			m.data = foreign[len(foreign)-1].data
		}), nil},
		"the history is cut off": {at("source.bundle", func(m *member) { m.data = m.data[:len(m.data)-100] }), []string{audit.CodeExportHistory}},
		"a byte of the history":  {at("source.bundle", func(m *member) { m.data[len(m.data)-60] ^= 1 }), []string{audit.CodeExportHistory}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := w.options()
			r := w.audit(remake(t, good, c.change), o)
			answer := audit.No
			switch name {
			case "the index says another cluster": // the auditor knows better, and was not fooled
				answer = audit.Yes
			case "the history is another's": // of which nothing can be verified
				answer = audit.Unknown
			}
			want(t, withoutOpen(r), answer, c.codes...)
			if answer == audit.Yes {
				return
			}
			first := r.Records[0]
			if !first.Verified || strings.HasPrefix(name, "a bundle") && first.Rendered != audit.Yes {
				t.Errorf("the rest is not audited: %+v", first)
			}
		})
	}
}

// What is no export at all is refused at once, and what never ends is cut off.
func TestWhatIsNoExportIsRefused(t *testing.T) {
	t.Parallel()
	w := newFloor(t, 1)
	good := w.export(w.evidence())
	for name, c := range map[string][]byte{
		"nothing":              nil,
		"JSON of an old one":   []byte(`{"apiVersion":"millwright.dev/v1alpha1","kind":"FactoryExport"}`),
		"an empty archive":     pack(t, nil),
		"no index":             pack(t, members(t, good)[1:]),
		"another version":      remake(t, good, editIndex(t, func(i map[string]any) { i["apiVersion"] = "millwright.dev/export/v9" })),
		"an unknown field":     remake(t, good, editIndex(t, func(i map[string]any) { i["extra"] = 1 })),
		"an index that is not": remake(t, good, at("export.json", func(m *member) { m.data = []byte("{") })),
	} {
		var no *attest.Refusal
		if _, err := audit.Open(t.Context(), bytes.NewReader(c), t.TempDir()); !errors.As(err, &no) || no.Code != audit.CodeExportInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Cut anywhere, it never is a yes.
	for at := len(good) / 10; at < len(good); at += len(good) / 10 {
		e, err := audit.Open(t.Context(), bytes.NewReader(good[:at]), t.TempDir())
		if err != nil {
			continue
		}
		if r := w.run(e, w.options()); r.Answer != audit.No {
			t.Errorf("cut at %d of %d: %q\n%s", at, len(good), r.Answer, r.Text())
		}
	}
}

// A whole chain of another cluster is one that the auditor did not ask about.
func TestAChainOfAnotherClusterIsNoAnswer(t *testing.T) { // row F10
	t.Parallel()
	w, other := newFloor(t, 2), newFloor(t, 0)
	other.Target.ClusterUID = "99999999-2a52-4c57-9a55-54d3c1a0f1d2"
	other.change(audittest.Alice, "elsewhere")
	o := other.options()
	want(t, other.run(other.evidence(), o), audit.Yes)
	o.ClusterUID = w.Target.ClusterUID
	want(t, other.run(other.evidence(), o), audit.No, attest.CodeChainCluster)
}

func TestTheClusterIsComparedWithTheNewestRecord(t *testing.T) {
	t.Parallel()
	w := newFloor(t, 2)
	for name, c := range map[string]struct {
		found  audit.Comparison
		err    error
		answer audit.Answer
		codes  []string
	}{
		"as it should be":   {audit.Comparison{Looked: 1}, nil, audit.Yes, nil},
		"otherwise":         {audit.Comparison{Looked: 1, Different: []string{"ConfigMap default/settings"}}, nil, audit.No, []string{audit.CodeLiveDiffers}},
		"without an answer": {audit.Comparison{}, errors.New("no route"), audit.Unknown, []string{audit.CodeLiveUnknown}},
	} {
		o := w.options()
		o.Live = func(_ context.Context, s attest.Statement, v gitverify.Verification) (audit.Comparison, error) {
			if s.Commit() != w.Records[1].Commit || string(v.Commit()) != s.Commit() {
				return audit.Comparison{}, fmt.Errorf("it is asked about %s", s.Commit())
			}
			return c.found, c.err
		}
		r := w.run(w.evidence(), o)
		t.Log(name)
		want(t, r, c.answer, c.codes...)
	}
}

func TestSilenceIsFound(t *testing.T) {
	t.Parallel()
	w := newFloor(t, 1)
	o := w.options()
	o.MaxAge = 25 * time.Hour
	want(t, w.run(w.evidence(), o), audit.Yes)
	o.MaxAge = time.Hour
	want(t, w.run(w.evidence(), o), audit.No, audit.CodeStale)
}
