package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"millwright.dev/millwright/e2e/localfactory"
	"millwright.dev/millwright/gitverify/sigstoretest"
	"millwright.dev/millwright/reconciler"
	"millwright.dev/millwright/reconciler/api/v1alpha1"
	"millwright.dev/millwright/reconciler/audit"
)

// proof is what the records say in the end.
type proof struct {
	// audited is the answer of `millwright audit` on an export, records how many it
	// went over.
	audited audit.Answer
	records int
	// observed is how many revisions were seen in the cluster.
	observed int
	// lost are revisions that were seen in the cluster and have no record, doubled
	// those that have two, or that were written to the cluster twice.
	lost, doubled []string
	// wrong is whatever else is not as it has to be.
	wrong []string
}

func (p proof) err() error {
	var errs []error
	add := func(what string, list []string) {
		if len(list) > 0 {
			errs = append(errs, fmt.Errorf("%d %s: %s", len(list), what, strings.Join(list[:min(len(list), 10)], "; ")))
		}
	}
	if p.audited != audit.Yes {
		errs = append(errs, fmt.Errorf("the audit of the export says %q", p.audited))
	}
	add("lost", p.lost)
	add("doubled", p.doubled)
	add("wrong", p.wrong)
	return errors.Join(errs...)
}

// tally compares the revisions that were pushed, the factory itself first, with the
// records of an audited export, and with what was seen in the cluster.
func tally(commits []string, report audit.Report, values, made map[string]int) proof {
	p := proof{audited: report.Answer, records: len(report.Records)}
	of := map[string]int{}
	for i, r := range report.Records {
		if want := int64(i + 1); r.Sequence != want {
			p.wrong = append(p.wrong, fmt.Sprintf("record %d stands where %d has to", r.Sequence, want))
		}
		if r.Kind != "revision" {
			p.wrong = append(p.wrong, fmt.Sprintf("record %d is an %s: nothing drifted", r.Sequence, r.Kind))
			continue
		}
		of[r.Commit]++
		if !slices.Contains(commits, r.Commit) {
			p.wrong = append(p.wrong, fmt.Sprintf("record %d is of commit %.12s, which nobody pushed", r.Sequence, r.Commit))
		}
		if name := recordName(r.Sequence); made[name] != 1 {
			p.doubled = append(p.doubled, fmt.Sprintf("record %s was made %d times", name, made[name]))
		}
	}
	for revision, commit := range commits {
		name := fmt.Sprintf("revision %d (%.12s)", revision, commit)
		n := values[strconv.Itoa(revision)]
		seen := n > 0
		if seen {
			p.observed++
		} else {
			p.wrong = append(p.wrong, name+" was not seen in the cluster")
		}
		switch {
		case seen && of[commit] == 0:
			p.lost = append(p.lost, name)
		case of[commit] > 1:
			p.doubled = append(p.doubled, fmt.Sprintf("%s has %d records", name, of[commit]))
		}
		if revision > 0 && n > 1 {
			p.doubled = append(p.doubled, fmt.Sprintf("%s was written %d times", name, n))
		}
	}
	return p
}

// audit writes everything into one file, with the real program, and has it
// audited by the real program: the cluster keeps the newest records, and the older
// ones come from the registry.
func (f *floor) audit(ctx context.Context) (audit.Report, error) {
	said, err := f.millwright(ctx, "export", localfactory.Name, "--namespace", localfactory.Namespace, "--kubeconfig", f.cluster.Kubeconfig,
		"--to", f.site.Path("factory.tar.gz"))
	if err != nil {
		return audit.Report{}, err
	}
	_, head, found := strings.Cut(strings.TrimSpace(string(said)), "--head ")
	if !found {
		return audit.Report{}, fmt.Errorf("the export does not name its newest record: %s", said)
	}
	signer := []string{"--certificate-identity", localfactory.Subject, "--certificate-oidc-issuer", f.site.Sigstore.IssuerURL(sigstoretest.Workload)}
	if f.key != "" {
		signer = []string{"--key", f.key + ".pub", "--unsafe-without-log"}
	}
	said, err = f.millwright(ctx, append([]string{
		"audit", "--export", f.site.Path("factory.tar.gz"), "--trusted-root", f.site.Sigstore.TrustedRootPath,
		"--anchor", f.anchor, "--head", head, "-o", "json",
	}, signer...)...)
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) { // a no is told by the report too
		return audit.Report{}, err
	}
	var report audit.Report
	if broken := json.Unmarshal(said, &report); broken != nil {
		return report, errors.Join(err, fmt.Errorf("reading the report of the audit: %w", broken))
	}
	return report, nil
}

// millwright runs the real program, with more time than a thousand records take.
func (f *floor) millwright(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, f.site.Path("bin", "millwright"), args...)
	cmd.Dir, cmd.WaitDelay = f.site.Dir, 2*time.Second
	cmd.Env = []string{"HOME=" + f.site.Path("people"), "PATH=/usr/bin:/bin", "TMPDIR=" + f.site.Dir}
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("millwright %s: %w\n%s", args[0], err, problems.String())
	}
	return out, err
}

// prove goes over everything: an export with the real programs, what is in the
// cluster, and what was seen in it.
func (b *benchmark) prove(ctx context.Context) error {
	report, err := b.floor.audit(ctx)
	if err != nil {
		return err
	}
	_, values, made, lost := b.floor.seen.counts()
	if lost != nil {
		return lost
	}
	b.proof = tally(b.floor.commits[:b.last+1], report, values, made)
	for _, finding := range report.Findings[:min(len(report.Findings), 5)] {
		b.say("the audit: %s, record %d: %s", finding.Code, finding.Sequence, finding.Detail)
	}
	key := client.ObjectKey{Namespace: localfactory.Namespace, Name: localfactory.Name}
	chain, err := reconciler.Chain(ctx, b.floor.api, key)
	if err != nil {
		return err
	}
	b.proof.wrong = append(b.proof.wrong, compare(chain, report.Records)...)
	return nil
}

// compare wants the records in the cluster to be the newest of those that were
// audited, without a gap, and each to be in the registry.
func compare(chain []v1alpha1.AppliedRevision, audited []audit.Record) []string {
	if len(chain) == 0 || len(chain) > len(audited) {
		return []string{fmt.Sprintf("the cluster has %d records, the export %d", len(chain), len(audited))}
	}
	var wrong []string
	for i, r := range chain {
		want := audited[len(audited)-len(chain)+i]
		if r.Spec.Sequence != want.Sequence || r.Spec.Digest != want.Digest {
			wrong = append(wrong, fmt.Sprintf("the cluster has %s (%s) where the export has record %d (%s)", r.Name, r.Spec.Digest, want.Sequence, want.Digest))
		}
		if !r.Status.Stored {
			wrong = append(wrong, r.Name+" is in the cluster only")
		}
	}
	return wrong
}
