package gitverify

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"millwright.dev/millwright/gitverify/forgekey"
	"millwright.dev/millwright/gitverify/trustpolicy"
)

// proveAhead is how many commits are read and proved side by side before they
// are judged one after the other.
const proveAhead = 128

// attempt is what came of proving one signature.
type attempt struct {
	commit rawCommit
	proof  proof
	err    error
}

// ahead are commits that were read before they are judged.
type ahead struct {
	ids     []ID
	commits []rawCommit
}

// readAhead reads commits whose signatures are to be proved. Objects are read one
// after the other: their reader need not be safe for more.
func (w *walk) readAhead(ctx context.Context, ids []ID) (found ahead) {
	for _, id := range ids {
		if _, done := w.proofs[id]; done {
			continue
		}
		if c, err := w.commit(ctx, id); err == nil && forgekey.Kind(c.armored) == "x509" {
			found.ids, found.commits = append(found.ids, id), append(found.commits, c)
		}
	}
	return found
}

// proveAhead begins to prove signatures side by side, and returns what waits for
// them. What a signature proves does not depend on any policy, so nothing is
// decided here; whatever fails is met again by judge, in order.
func (w *walk) proveAhead(ctx context.Context, todo ahead) (collect func()) {
	done := make([]attempt, len(todo.ids))
	var group sync.WaitGroup
	var next atomic.Int64 // whoever shares a core with the judge takes fewer
	for range min(runtime.GOMAXPROCS(0), len(done)) {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(done)); i = next.Add(1) - 1 {
				done[i] = w.prove(ctx, todo.commits[i], nil)
			}
		})
	}
	return func() {
		group.Wait()
		for i, id := range todo.ids {
			w.proofs[id] = done[i]
		}
		todo.ids = nil
	}
}

func (w *walk) prove(ctx context.Context, c rawCommit, lookup LogLookup) attempt {
	p, err := w.prover.prove(ctx, c.payload, c.armored, inquire(lookup, c.id))
	return attempt{commit: c, proof: p, err: err}
}

// lookup is the log that may be asked, if the policy in force says so.
func (w *walk) lookup() LogLookup {
	if w.head().policy.Transparency.Log != trustpolicy.LogOnline {
		return nil
	}
	return w.options.Log
}

// judge decides about one commit under the policy in force (rule T2), and puts
// it into the unit.
func (w *walk) judge(ctx context.Context, id ID) error {
	a, proved := w.proofs[id]
	if delete(w.proofs, id); !proved {
		c, err := w.commit(ctx, id)
		if err != nil {
			return err
		}
		a.commit = c
	}
	r := &record{parents: a.commit.parents, tree: a.commit.tree, order: len(w.records) + len(w.unit) + 1}
	r.Commit, r.LogIndex = id, -1
	var err error
	if kind := forgekey.Kind(a.commit.armored); kind == "pgp" || kind == "ssh" {
		err = w.judgeForge(ctx, r, a.commit)
	} else {
		if lookup := w.lookup(); !proved || lookup != nil && codeOf(a.err) == codeNotLogged {
			a = w.prove(ctx, a.commit, lookup)
		}
		if err = a.err; err == nil {
			err = w.judgePerson(ctx, r, a)
		}
	}
	if err != nil {
		return about(id, err)
	}
	w.pending[id] = r
	w.unit = append(w.unit, r)
	return nil
}

// judgePerson decides about a gitsign signature: a listed identity, in force
// and not revoked at the proven time.
func (w *walk) judgePerson(ctx context.Context, r *record, a attempt) error {
	policy, p, c := w.head().policy, a.proof, a.commit
	id, err := identify(policy, p.certified)
	if err != nil {
		return err
	}
	if err := inForce(policy, id, p); err != nil {
		return err
	}
	if err := checkCommitter(policy, id, c); err != nil {
		return err
	}
	skew, err := checkSkew(policy, p.at, c.when)
	if err != nil {
		return err
	}
	if err := w.seen.admit(p); err != nil {
		return err
	}
	r.proof = p
	r.Signer = Identity{Name: id.Name, Person: id.Person, Issuer: p.issuer, Subject: p.subject}
	r.SignedAt, r.LogIndex = p.at, p.logIndex
	r.Payload = "sha256:" + hex.EncodeToString(p.payload[:])
	if skew != "" {
		r.Warnings = append(r.Warnings, skew)
	}
	return w.classify(ctx, r, c)
}

// classify says what the commit is to its unit. An approval is known by its
// trailer and by changing nothing; a trailer that does not count is no reason to
// refuse, but whoever wrote it should learn why it does nothing.
func (w *walk) classify(ctx context.Context, r *record, c rawCommit) error {
	if len(c.parents) > 1 {
		r.Kind = KindMerge
		return nil
	}
	r.Kind = KindContent
	trailer, err := approval(c)
	if err != nil {
		r.Warnings = append(r.Warnings, err.Error())
		return nil
	}
	if trailer == "" {
		return nil
	}
	parent, err := w.treeOf(ctx, c.parents[0])
	if err != nil {
		return err
	}
	mainline := w.mainline()
	want := w.head().policy.Repository + " " + mainline
	switch {
	case parent != c.tree:
		r.Warnings = append(r.Warnings, "it has the trailer of an approval, but changes files: only an empty commit approves")
	case trailer != want:
		r.Warnings = append(r.Warnings, fmt.Sprintf("it approves %q, which is not %q", printable(trailer), want))
	default:
		r.Kind = KindApproval
	}
	return nil
}

// mainline is the branch that approvals must name.
func (w *walk) mainline() string { return w.request.history().mainline }

const (
	tagPrefix       = "refs/tags/"
	approvalTrailer = "Millwright-Approve: "
)

// approval reads the trailer of rule T7 as bytes: exactly one, in the last
// paragraph. A message in another encoding than UTF-8 approves nothing, since
// it could read as something else to people (row A21).
func approval(c rawCommit) (string, error) {
	if !bytes.Contains(c.message, []byte(approvalTrailer)) {
		return "", nil
	}
	if c.encoded || !utf8.Valid(c.message) {
		return "", errors.New("it has the trailer of an approval, but its message is not plain UTF-8: it approves nothing")
	}
	paragraphs := strings.Split(strings.TrimRight(string(c.message), "\n"), "\n\n")
	var found []string
	for line := range strings.SplitSeq(paragraphs[len(paragraphs)-1], "\n") {
		if value, ok := strings.CutPrefix(line, approvalTrailer); ok {
			found = append(found, value)
		}
	}
	if len(found) != 1 || len(paragraphs) < 2 {
		return "", errors.New("the trailer of an approval must stand exactly once, in the last paragraph after the subject: it approves nothing")
	}
	return found[0], nil
}

// identify finds the listed identity that a certificate names.
func identify(policy *trustpolicy.Policy, c certified) (*trustpolicy.Identity, error) {
	id, err := policy.Identify(c.issuer, c.subject, c.isURI)
	unlisted, no := errors.AsType[*trustpolicy.Unlisted](err)
	if !no {
		return id, err
	}
	code := codeSubject
	switch unlisted.Why {
	case trustpolicy.WhyIssuer:
		code = codeIssuer
	case trustpolicy.WhyKind:
		code = codeSANType
	case trustpolicy.WhyAmbiguous:
		code = codeAmbiguousIdentity
	}
	return nil, refuse(code, "%s", unlisted.Detail)
}

// inForce is the second half of rule T2: listed, inside its window, and not
// revoked when it signed (rule T9).
func inForce(policy *trustpolicy.Policy, id *trustpolicy.Identity, p proof) error {
	if policy.Transparency.TimestampAuthority == trustpolicy.TimestampRequired && !p.stamped {
		return refuse(codeNoStamp, "the policy wants the timestamp of an authority, and the signature carries none")
	}
	if !id.InForce(p.at) {
		return refuse(codeNotInForce, "identity %q signed at %s, outside the time for which the policy lists it", id.Name, p.at.UTC().Format(time.RFC3339))
	}
	if no := revocation(policy, p, id.Name, ""); no != nil {
		return no
	}
	return nil
}

// revocation says why the signature of an identity or of a forge key does not
// count any more; nil when it does.
func revocation(policy *trustpolicy.Policy, p proof, name, forge string) *Refusal {
	if why, ok := policy.RevokedCommit(p.payload); ok {
		return refuse(codeCommitRevoked, "what was signed (sha256:%x) is revoked: %s", p.payload, why.Reason)
	}
	if why, ok := policy.RevokedForgeKey(forge); ok {
		return refuse(codeForgeRevoked, "the forge key %q is revoked: %s", forge, why.Reason)
	}
	if name == "" {
		return nil
	}
	if why, ok := policy.RevokedIdentity(name, p.at); ok {
		return refuse(codeIdentityRevoked, "identity %q is revoked from %s, and signed at %s: %s", name,
			why.From.UTC().Format(time.RFC3339), p.at.UTC().Format(time.RFC3339), why.Reason)
	}
	return nil
}

// checkCommitter refuses a commit that claims to be somebody else's (row B07):
// the committer line is what people read in every log.
func checkCommitter(policy *trustpolicy.Policy, id *trustpolicy.Identity, c rawCommit) error {
	if policy.History.Committer == trustpolicy.CommitterAny || len(id.Emails) == 0 || slices.Contains(id.Emails, c.email) {
		return nil
	}
	return refuse(codeCommitter, "the committer is <%s>, but %q signed", printable(c.email), id.Name)
}

// checkSkew compares what the commit claims with the proven time (row B14).
func checkSkew(policy *trustpolicy.Policy, at time.Time, claimed int64) (string, error) {
	const worthAWord = 24 * time.Hour
	seconds := at.Unix() - claimed
	if seconds < 0 {
		seconds = -seconds
	}
	limit := int64(policy.History.MaxSkew / time.Second)
	if limit > 0 && seconds > limit {
		return "", refuse(codeSkew, "the committer date is %d seconds away from the proven signing time, more than %d", seconds, limit)
	}
	if seconds > int64(worthAWord/time.Second) {
		return fmt.Sprintf("the committer date is %d hours away from the proven signing time", seconds/3600), nil
	}
	return "", nil
}
