package reconciler_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/report"
)

const controller = "spiffe://factory.test/millwright/controller"

// beside are the records of a type that is not in the chain.
func (p *plant) beside(kind string) []v1alpha1.AppliedRevision {
	p.t.Helper()
	var list v1alpha1.AppliedRevisionList
	p.must(p.client.List(p.t.Context(), &list, client.InNamespace(p.namespace)))
	return slices.DeleteFunc(list.Items, func(r v1alpha1.AppliedRevision) bool { return r.Spec.Type != kind })
}

// keyless has the factory sign with the controller's own identity. What is
// returned makes its token fail.
func (p *plant) keyless(change ...func(*v1alpha1.AttestSpec)) (fail func(error)) {
	p.t.Helper()
	var failure error
	p.setup.Token = func(ctx context.Context) (string, error) {
		if failure != nil {
			return "", failure
		}
		return p.sigstore.Token(ctx, sigstoretest.Workload, controller, 5*time.Minute)
	}
	p.change(func(s *v1alpha1.FactorySpec) {
		s.Attest.Signer, s.Attest.Fulcio, s.Attest.Rekor = "Keyless", p.sigstore.FulcioURL, p.sigstore.RekorURL
		s.Attest.TimestampAuthority = p.sigstore.TimestampURL + "/api/v1/timestamp"
		s.Attest.Issuer, s.Attest.Subject = p.sigstore.IssuerURL(sigstoretest.Workload), controller
		s.Attest.WhenUnavailable = "Hold"
		for _, c := range change {
			c(&s.Attest)
		}
	})
	return func(err error) { failure = err }
}

// signedPayload is the statement in a bundle, unverified.
func signedPayload(t *testing.T, bundle string) string {
	t.Helper()
	var b struct{ DSSEEnvelope struct{ Payload []byte } }
	if err := json.Unmarshal([]byte(bundle), &b); err != nil {
		t.Fatal(err)
	}
	return string(b.DSSEEnvelope.Payload)
}

func TestTheVerdictIsOnRecordBeforeTheFirstWrite(t *testing.T) {
	f := newFaulty(t)
	f.setMany("one")
	commit := f.commit(alice, "good")
	f.settle(commit)
	before := 0 // records that are made before the first object is written
	for _, w := range f.proxy.Writes() {
		if w.Verb == "apply" {
			break
		}
		if w.Verb == "create" && w.Resource == "appliedrevisions" {
			before++
		}
	}
	if before != 1 {
		t.Errorf("%d records were made before the first write, want the verdict", before)
	}
	stored := f.beside(v1alpha1.RecordVerdict)
	if len(stored) != 1 {
		t.Fatalf("%d verdicts", len(stored))
	}
	inputs := f.statement(0).Predicate.Inputs
	var want []attest.Input
	for kind, bundle := range map[string]string{
		attest.SourceVerificationType: stored[0].Spec.SourceVerification, attest.ProvenanceType: stored[0].Spec.Provenance,
		attest.VerdictType: stored[0].Spec.Bundle,
	} {
		want = append(want, attest.Input{PredicateType: kind, Attestation: attest.Digest([]byte(bundle))})
	}
	for _, in := range inputs {
		if !slices.Contains(want, in) {
			t.Errorf("the record names %+v, which is not stored", in)
		}
	}
	if len(inputs) != len(want) {
		t.Errorf("the record names %d statements, want %d", len(inputs), len(want))
	}
	if said := signedPayload(t, stored[0].Spec.Provenance); !strings.Contains(said, commit) || !strings.Contains(said, `"overlay":"overlays/local"`) {
		t.Errorf("provenance: %s", said)
	}
	if said := signedPayload(t, stored[0].Spec.Bundle); !strings.Contains(said, `"verificationResult":"PASSED"`) || strings.Contains(said, "SLSA_") {
		t.Errorf("verdict: %s", said)
	}
}

func TestEvidenceThatCannotBeMadeHoldsWhatIsNewAndNothingElse(t *testing.T) {
	for name, down := range map[string]func(*plant, func(error)){
		"J05 Fulcio is away":    func(p *plant, _ func(error)) { p.attestAt(func(s *v1alpha1.AttestSpec) { s.Fulcio = nowhere }) },
		"J05 the token expired": func(_ *plant, fail func(error)) { fail(errors.New("token expired")) },
		"J07 no timestamp": func(p *plant, _ func(error)) {
			p.attestAt(func(s *v1alpha1.AttestSpec) { s.TimestampAuthority = nowhere })
		},
		"J11 the SPIRE agent is away": func(_ *plant, fail func(error)) {
			fail(errors.New("dial unix /run/spire/agent.sock: connect: no such file or directory"))
		},
		"F13 the token is of somebody else": func(p *plant, _ func(error)) {
			p.setup.Token = func(ctx context.Context) (string, error) {
				return p.sigstore.Token(ctx, sigstoretest.Workload, "spiffe://factory.test/somebody", time.Minute)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t)
			fail := p.keyless()
			p.commit(alice, "good")
			p.applied()
			up := p.attestSpec()
			token := p.setup.Token
			p.late = 3 * time.Minute // a certificate is not used for longer than two
			down(p, fail)
			p.setConfig("two")
			next := p.commit(alice, "next")
			p.edit("mallory-kubectl", "drifted")
			f := p.pass()
			if value, _ := p.settings(); value != "one" {
				t.Errorf("drift of what is in force was not put back, or what is new was written: %q", value)
			}
			if c := conditionOf(f, v1alpha1.ConditionAttested); c.Reason != report.ReasonEvidenceHeld || c.Status == metav1.ConditionTrue {
				t.Errorf("Attested: %+v", c)
			}
			if n := len(p.records()); n != 1 || conditionOf(f, v1alpha1.ConditionReady).Status == metav1.ConditionTrue {
				t.Errorf("%d records, and %+v", n, conditionOf(f, v1alpha1.ConditionReady))
			}
			fail(nil)
			p.setup.Token = token
			p.attestAt(func(s *v1alpha1.AttestSpec) { *s = up })
			if f = p.applied(); f.Status.Applied.Commit != next {
				t.Errorf("it did not go on: %+v", f.Status.Applied)
			}
			p.wholeBy(attest.Policy{Identity: attest.Identity{Issuer: up.Issuer, Subject: up.Subject}})
		})
	}
}

// nowhere is an address on which nobody listens.
const nowhere = "http://127.0.0.1:1"

func (p *plant) attestSpec() v1alpha1.AttestSpec {
	p.t.Helper()
	var f v1alpha1.Factory
	p.must(p.client.Get(p.t.Context(), keyOf(p), &f))
	return f.Spec.Attest
}

func (p *plant) attestAt(change func(*v1alpha1.AttestSpec)) {
	p.change(func(s *v1alpha1.FactorySpec) { change(&s.Attest) })
}

func TestARevisionIsNotOvertakenWhileItsRecordWaits(t *testing.T) { // row J01
	p := newPlant(t)
	p.keyless()
	first := p.commit(alice, "good")
	up := p.attestSpec()
	p.attestAt(func(s *v1alpha1.AttestSpec) { s.Rekor = nowhere })
	if f := p.pass(); conditionOf(f, v1alpha1.ConditionAttested).Status == metav1.ConditionTrue || len(p.records()) != 0 {
		t.Fatalf("a record without the log: %+v", f.Status.Conditions)
	}
	if value, _ := p.settings(); value != "one" {
		t.Fatalf("it is not applied: %q", value)
	}
	p.setConfig("two")
	second := p.commit(alice, "next")
	p.edit("mallory-kubectl", "drifted")
	f := p.pass()
	if value, _ := p.settings(); value != "one" || conditionOf(f, v1alpha1.ConditionAttested).Reason != report.ReasonEvidenceHeld {
		t.Errorf("the cluster says %q, Attested: %+v", value, conditionOf(f, v1alpha1.ConditionAttested))
	}
	p.attestAt(func(s *v1alpha1.AttestSpec) { *s = up })
	p.pass()
	p.applied()
	records := p.records()
	if len(records) != 2 || records[0].Spec.Commit != first || records[1].Spec.Commit != second {
		t.Errorf("the order is lost: %d records", len(records))
	}
}

func TestWithoutHoldingARevisionGoesOnAndItsEvidenceFollows(t *testing.T) { // row J05
	p := newPlant(t)
	fail := p.keyless(func(s *v1alpha1.AttestSpec) { s.WhenUnavailable = "Queue" })
	p.commit(alice, "good")
	fail(errors.New("token expired"))
	f := p.pass()
	if value, _ := p.settings(); value != "one" {
		t.Errorf("it waited: %q, %+v", value, f.Status.Conditions)
	}
	if conditionOf(f, v1alpha1.ConditionAttested).Status == metav1.ConditionTrue || len(p.records()) != 0 {
		t.Errorf("an unsigned success: %+v", conditionOf(f, v1alpha1.ConditionAttested))
	}
	fail(nil)
	p.applied()
	if n, verdicts := len(p.records()), len(p.beside(v1alpha1.RecordVerdict)); n != 1 || verdicts != 1 {
		t.Errorf("%d records and %d verdicts", n, verdicts)
	}
}

func TestAChainGoesOnWhenItsSignerIsReplaced(t *testing.T) { // row F13
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	public, err := p.setup.Key.PublicPEM()
	p.must(err)
	former := v1alpha1.FormerSigner{Until: 1, Key: string(public), UnsafeWithoutLog: true}
	p.keyless()
	if c := conditionOf(p.pass(), v1alpha1.ConditionAttested); c.Reason != report.ReasonChainBroken {
		t.Errorf("a signer that nobody named: %+v", c)
	}
	p.attestAt(func(s *v1alpha1.AttestSpec) { s.Former = []v1alpha1.FormerSigner{former} })
	p.setConfig("two")
	p.commit(alice, "next")
	p.applied()
	spec := p.attestSpec()
	p.wholeBy(attest.Policy{Identity: attest.Identity{Issuer: spec.Issuer, Subject: spec.Subject}},
		attest.Policy{Key: p.setup.Key.Public(), UnsafeWithoutLog: true, Until: 1})
	// Who was replaced signs nothing any more.
	p.attestAt(func(s *v1alpha1.AttestSpec) { s.Signer, s.Former = "Key", nil })
	p.restart()
	p.attestAt(func(s *v1alpha1.AttestSpec) {
		s.Former = []v1alpha1.FormerSigner{{Until: 1, Issuer: spec.Issuer, Subject: spec.Subject}}
	})
	if c := conditionOf(p.pass(), v1alpha1.ConditionAttested); c.Reason != report.ReasonChainBroken {
		t.Errorf("record 2 by a signer that counts up to 1: %+v", c)
	}
}

// wholeBy audits the chain by these policies.
func (p *plant) wholeBy(policies ...attest.Policy) {
	p.t.Helper()
	data, err := p.sigstore.TrustedRootJSON()
	p.must(err)
	material, err := attest.ParseTrustedRoot(data)
	p.must(err)
	result, err := attest.Audit(records(p), attest.Options{TrustedRoot: material, Policies: policies})
	p.must(err)
	if !result.OK {
		p.t.Error(result.Text())
	}
}

func TestARefusalIsOnRecordOnceAndNotAgainAtOnce(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	good := strings.TrimSpace(p.local("rev-parse", "HEAD"))
	p.setConfig("evil canary-4f2d")
	evil := p.commit(nobody, "evil canary-4f2d")
	for range 3 {
		p.wantRefused(p.pass(), "sig/missing", "one")
	}
	p.local("reset", "-q", "--hard", good)
	p.setConfig("evil again")
	p.commit(nobody, "evil again")
	p.pass()
	refused := p.beside(v1alpha1.RecordRefused)
	if len(refused) != 1 || refused[0].Spec.Commit != evil {
		t.Fatalf("%d refusals on record", len(refused))
	}
	said := signedPayload(t, refused[0].Spec.Bundle)
	if !strings.Contains(said, `"code":"sig/missing"`) || !strings.Contains(said, `"FAILED"`) || strings.Contains(said, "canary") {
		t.Errorf("it says: %s", said)
	}
	p.late += 6 * time.Minute
	p.pass()
	if n := len(p.beside(v1alpha1.RecordRefused)); n != 2 {
		t.Errorf("%d refusals on record after a while", n)
	}
	p.local("reset", "-q", "--hard", good)
	p.auditIsClean(1)
}

func TestAVerdictThatIsNotOursStopsWhatItIsAbout(t *testing.T) {
	p := newPlant(t)
	p.commit(alice, "good")
	p.applied()
	first := p.beside(v1alpha1.RecordVerdict)[0]
	p.setConfig("two")
	p.commit(alice, "next")
	p.restart()
	// The next one's name is known once it was made: take it, and put another's
	// statements there.
	p.applied()
	verdicts := p.beside(v1alpha1.RecordVerdict)
	second := verdicts[len(verdicts)-1]
	p.must(p.client.Delete(t.Context(), &p.records()[1]))
	p.must(p.client.Delete(t.Context(), &second))
	var f v1alpha1.Factory
	p.must(p.client.Get(t.Context(), keyOf(p), &f))
	f.Status.Applied = nil
	p.must(p.client.Status().Update(t.Context(), &f))
	forged := first.DeepCopy()
	forged.ObjectMeta = metav1.ObjectMeta{Namespace: p.namespace, Name: second.Name}
	forged.Spec.Commit, forged.Spec.Rendered, forged.Spec.Sequence = second.Spec.Commit, second.Spec.Rendered, 2
	p.must(p.client.Create(t.Context(), forged))
	p.restart()
	after := p.pass()
	if c := conditionOf(after, v1alpha1.ConditionAttested); c.Status == metav1.ConditionTrue || len(p.records()) != 1 {
		t.Errorf("with a verdict on something else: %+v, %d records", c, len(p.records()))
	}
}
