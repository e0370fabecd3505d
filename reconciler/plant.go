package reconciler

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"k8s.io/apimachinery/pkg/types"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/apply"
	"millwright.dev/millwright/reconciler/attest"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/report"
	"millwright.dev/millwright/reconciler/source"
	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/policy"
)

// maxPending bounds what is remembered of a revision that cannot be attested.
const maxPending = 50_000

// plant is what the controller keeps of one Factory between two passes. All of
// it is cache: losing it costs time, never truth.
type plant struct {
	setup *Setup
	key   types.NamespacedName
	store *source.Store
	// identity of the spec that the caches belong to.
	source string
	// accounts is the prefix of the service accounts that engine acts as.
	accounts string
	engine   *apply.Engine
	verifier *gitverify.Verifier
	renderer render.Renderer
	tester   *policy.Tester
	material root.TrustedMaterial
	// trust is the digest of the trusted root in use.
	trust string
	// last is the newest accepted revision.
	last *accepted
	// good is the newest attested revision that this process enforced.
	good *accepted
	// refetched is the newest tip that was fetched as a whole a second time.
	refetched gitverify.ID
	// no are the newest definite answers, which stay until their input changes.
	no map[gitverify.ID]refusal
	// newest is what was verified last, beat the heartbeat that was looked at.
	newest gitverify.Verification
	beat   beat
	// pending gathers what was changed for a revision that is not attested yet.
	pending []apply.Result
	// packed are the newest manifests as an artifact, packer and images what is known
	// of the objects that were in it.
	packed packed
	packer attest.Packer
	images named
	// certificates has the certificate that the statements of a revision are signed
	// with.
	certificates *attest.Certificates
	// outbox are the parcels of records that the registry has not yet.
	outbox outbox
	// trusted is what was read out of trustedHead when that was verified.
	trustedHead v1alpha1.AppliedRevisionSpec
	trusted     head
	// signers are those that it was verified with.
	signers string
	// stretch is what became of the revision in force since the newest record,
	// record when the next one is due.
	stretch stretch
	record  time.Time
	// unrecorded is a revision that is applied and has no record yet, which would
	// be the one after the record with the digest unrecordedAfter.
	unrecorded      *accepted
	unrecordedAfter string
	// verdict is the newest that was stored; refusal names the newest refusal that
	// was put on record, at refusedAt.
	verdict   verdict
	refusal   string
	refusedAt time.Time
	cluster   cluster
	failures  int
	// repairs is what was put back lately, look when the next pass is due because
	// of it.
	repairs plan.History
	look    time.Time
	// recalled says that what the process before left was read, recollected what was
	// written last for the next one.
	recalled    bool
	recollected []byte
	// calm is what the last complete look found, if all was in order; version is
	// that of the Factory after the last pass; records and head are those that
	// were read last.
	calm    *calm
	version string
	records map[string]string
	head    head
	// secret are the credentials of the source as they were read last.
	secret *secret
	// swept is when everything was looked at last.
	swept time.Time
	// enforced names the revision that was enforced last, refused is what was said
	// of the source when it was asked last, mending since when it is not.
	enforced string
	refused  *report.StageProblem
	mending  time.Time
}

// cluster is the identity of the cluster that is written to.
type cluster struct {
	uid, version string
}

func newPlant(setup *Setup, key types.NamespacedName) (*plant, error) {
	store, err := source.OpenInterrupted(filepath.Join(setup.DataDir, key.Namespace, key.Name, "source.git"), setup.Interrupt)
	if err != nil {
		return nil, err
	}
	engine, err := apply.New(setup.REST, apply.Options{Factory: key.Name, Namespace: key.Namespace})
	if err != nil {
		return nil, err
	}
	return &plant{setup: setup, key: key, store: store, engine: engine, tester: &policy.Tester{}, certificates: attest.NewCertificates(setup.Clock), no: map[gitverify.ID]refusal{}, outbox: outbox{}}, nil
}

// prepare loads what every stage needs: the trusted root, the identity of the
// cluster, and the newest evidence.
func (p *pass) prepare(ctx context.Context) error {
	if err := p.plant.loadTrust(); err != nil {
		p.untrusted = at(v1alpha1.ConditionSourceVerified, report.ReasonTrustedRoot, err)
		if p.plant.verifier == nil {
			return p.untrusted
		}
	}
	if err := p.plant.actAs(p.factory.Spec.Apply.ServiceAccountPrefix); err != nil {
		return at(v1alpha1.ConditionApplied, report.ReasonControllerIncomplete, err)
	}
	p.plant.recall()
	if err := p.plant.identify(ctx); err != nil {
		return at(v1alpha1.ConditionApplied, clusterReason(err), err)
	}
	// Caches of another repository or anchor are of another history.
	spec := p.factory.Spec
	if now := strings.Join([]string{spec.Source.URL, spec.Source.Ref, p.mainline(), spec.Verify.Anchor, spec.Environment}, "\n"); now != p.plant.source {
		p.plant.source, p.plant.last, p.plant.good = now, nil, nil
		p.plant.newest, p.plant.beat = gitverify.Verification{}, beat{}
	}
	var err error
	p.head, err = p.headOf(ctx)
	return err
}

// actAs makes the engine one that acts as the accounts of a prefix. What the one
// before remembered is cache.
func (p *plant) actAs(prefix string) error {
	if prefix == p.accounts {
		return nil
	}
	engine, err := apply.New(p.setup.REST, apply.Options{Factory: p.key.Name, Namespace: p.key.Namespace, AccountPrefix: prefix})
	if err != nil {
		return err
	}
	p.engine, p.accounts = engine, prefix
	if p.setup.Watcher != nil { // a preview has none
		p.setup.Watcher.Narrow(p.key, prefix != "")
	}
	return nil
}

// loadTrust asks for the trusted root. Where there is none, or it ran out, the
// last good one stays in force for what is enforced, but the pass says so and
// takes nothing new.
func (p *plant) loadTrust() error {
	trust, err := p.setup.trustSource()()
	if err != nil {
		return err
	}
	if err := p.believe(trust.Data); err != nil {
		return err
	}
	return trust.expired()
}

// believe makes a trusted root the one in force, if it is another.
func (p *plant) believe(data []byte) error {
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	if digest == p.trust {
		return nil
	}
	trusted, err := gitverify.ParseTrustedRoot(data)
	if err != nil {
		return fmt.Errorf("parsing the trusted root: %w", err)
	}
	material, err := attest.ParseTrustedRoot(data)
	if err != nil {
		return err
	}
	// Another root makes a verifier prove again what relied on what went with the
	// old one, and nothing else.
	if p.verifier == nil {
		p.verifier, err = gitverify.New(trusted, p.options())
	} else {
		err = p.verifier.Replace(trusted)
	}
	if err != nil {
		return err
	}
	p.trust, p.material, p.last = digest, material, nil
	p.newest, p.beat = gitverify.Verification{}, beat{}
	p.good, p.trustedHead, p.trusted, p.records = nil, v1alpha1.AppliedRevisionSpec{}, head{}, nil
	return nil
}

// options keep what was verified for the next process, where there is a key
// that nobody who may write the data directory can guess (row C25).
func (p *plant) options() gitverify.Options {
	if len(p.setup.FrontierKey) == 0 {
		return gitverify.Options{Log: p.setup.Log}
	}
	return gitverify.Options{
		Log:          p.setup.Log,
		FrontierFile: filepath.Join(p.setup.DataDir, p.key.Namespace, p.key.Name, "frontier"),
		FrontierKey:  p.setup.FrontierKey, Build: p.setup.Build, Interrupt: p.setup.Interrupt,
	}
}

func (p *plant) identify(ctx context.Context) error {
	if p.cluster.uid != "" {
		return nil
	}
	uid, err := p.clusterUID(ctx)
	if err != nil {
		return err
	}
	if err := p.pin(uid); err != nil {
		return err
	}
	version, err := p.setup.Version(ctx)
	if err != nil {
		return fmt.Errorf("asking the API server for its version: %w", err)
	}
	p.cluster = cluster{uid: uid, version: version}
	return nil
}

// startTester has a process come to life that tests what is about to be rendered.
func (p *plant) startTester() {
	if p.setup.Ahead {
		p.tester.Begin(p.setup.Policy)
	}
}

// ahead prepares what the next commit will need, when nobody waits for it.
func (p *plant) ahead() {
	if p.setup.Ahead {
		p.tester.Ready(p.setup.Policy)
	}
}

func (p *plant) hold(inv plan.Inventory)  { p.setup.Watcher.Hold(p.key, inv) }
func (p *plant) track(inv plan.Inventory) { p.setup.Watcher.Track(p.key, inv) }

// add gathers what was done; what failed or waits is tried again.
func (p *plant) add(changes apply.ChangeSet) {
	for _, r := range changes.Results {
		done := r.Action != apply.Failed && r.Action != apply.Waiting && r.Action != apply.Deleting
		if done && len(p.pending) < maxPending {
			p.pending = append(p.pending, r)
		}
	}
}

// time records how long a stage takes: defer p.time("fetch")().
func (p *plant) time(stage string) func() {
	start := p.setup.Clock()
	return func() { p.setup.Metrics.Stage(p.key, stage, p.setup.Clock().Sub(start)) }
}
