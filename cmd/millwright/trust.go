package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/forgekey"
	"millwright.dev/millwright/gitverify/trustpolicy"
)

const trustLong = `trust helps to write and to read the trust policy, the file that says who may
change what. It reads local files and a local repository, and verifies nothing:
"millwright verify" does. docs/trust-policy.md describes every field. trust root
keeps a trusted root up to date; it alone asks somebody over the network.`

func newTrustCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "trust", Short: "Write, show, check and explain the trust policy; fetch the trusted root", Long: trustLong, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTrustInitCommand(a), newTrustShowCommand(a), newTrustLintCommand(a), newTrustExplainCommand(a), newTrustRootCommand(a))
	return cmd
}

// policySource is where a policy is read from.
type policySource struct{ repo, path string }

func (s *policySource) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.repo, "repo", ".", "`directory` of the repository; its work tree unless a revision is named")
	cmd.Flags().StringVar(&s.path, "policy", trustpolicy.DefaultPath, "`path` of the policy in the repository")
}

// load reads the policy of a commit, or of the work tree if no revision is named.
func (s *policySource) load(ctx context.Context, rev string) (*trustpolicy.Policy, error) {
	var (
		data []byte
		err  error
	)
	if rev == "" {
		data, err = readPolicyFile(filepath.Join(s.repo, filepath.FromSlash(s.path)))
	} else {
		data, err = readCommitted(ctx, s.repo, rev, s.path)
	}
	if err != nil {
		return nil, err
	}
	return decodePolicy(data, s.path)
}

// decodePolicy is what a verifier does with the file, forge keys included.
func decodePolicy(data []byte, path string) (*trustpolicy.Policy, error) {
	p, err := trustpolicy.Decode(data, path)
	var bad *trustpolicy.Invalid
	if errors.As(err, &bad) {
		return nil, &policyError{path, bad}
	}
	if err != nil {
		return nil, err
	}
	for _, key := range p.History.ForgeKeys {
		k := forgekey.Key{Name: key.Name, Type: key.Type, Fingerprint: key.Fingerprint, PublicKey: key.PublicKey}
		if err := forgekey.Check(k); err != nil {
			return nil, &policyError{path, &trustpolicy.Invalid{Detail: fmt.Sprintf("forge key %q: %v", key.Name, err)}}
		}
	}
	return p, nil
}

// policyError is a policy that a verifier would refuse.
type policyError struct {
	path string
	*trustpolicy.Invalid
}

// Unwrap says it in the words of the verifier.
func (e *policyError) Unwrap() error {
	code := "policy/invalid"
	if e.Lockout {
		code = "policy/lockout"
	}
	return &gitverify.Refusal{
		Reason: "PolicyInvalid", Code: code, Path: e.path, Detail: e.Invalid.Error(),
		Hint: "mend the file; docs/trust-policy.md describes every field",
	}
}

// readPolicyFile reads a regular file of bounded size: a symlink would be refused
// in a commit.
func readPolicyFile(name string) ([]byte, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return nil, noPolicy(err)
	}
	if !info.Mode().IsRegular() {
		return nil, &policyError{name, &trustpolicy.Invalid{Detail: "not a regular file"}}
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, noPolicy(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, trustpolicy.MaxSize+1))
	if err != nil {
		return nil, noPolicy(err)
	}
	return data, nil
}

func noPolicy(err error) error {
	return unknown{"PolicyMissing", "name the repository with --repo and the file with --policy, or make one with millwright trust init", err}
}

const trustShowLong = `show prints the policy of a commit (HEAD, a branch, a full ref or a full id), or
of the work tree: who signs, in which roles, and what needs whose consent.
Whether somebody is in force is said as of now.`

func newTrustShowCommand(a *app) *cobra.Command {
	var (
		from   policySource
		out    output
		schema bool
	)
	cmd := &cobra.Command{
		Use: "show [REV]", Short: "Show people, roles and rules", Long: trustShowLong, Args: atMostOne("a revision"),
		Example: "  millwright trust show\n  millwright trust show main -o json\n  millwright trust show --schema",
		RunE: func(cmd *cobra.Command, args []string) error {
			if schema {
				_, err := fmt.Fprint(a.out, trustpolicy.Schema())
				return err
			}
			p, err := from.load(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			s := describePolicy(p, a.now())
			return a.print(out, s, s.text)
		},
	}
	from.add(cmd)
	out.add(cmd)
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON Schema of the format instead")
	return cmd
}

// shownPolicy is a policy in JSON.
type shownPolicy struct {
	Version            int64             `json:"version"`
	Repository         string            `json:"repository"`
	Digest             string            `json:"digest"`
	Identities         []shownIdentity   `json:"identities"`
	Rules              []shownRule       `json:"rules"`
	Anchor             string            `json:"anchor,omitempty"`
	Committer          string            `json:"committer"`
	MaxSkew            string            `json:"maxSkew,omitempty"`
	ForgeKeys          []shownForgeKey   `json:"forgeKeys"`
	MaxAge             string            `json:"maxAge,omitempty"`
	Revocations        []shownRevocation `json:"revocations"`
	Log                string            `json:"log"`
	TimestampAuthority string            `json:"timestampAuthority"`
}

type shownIdentity struct {
	Name           string     `json:"name"`
	Person         string     `json:"person,omitempty"`
	Issuer         string     `json:"issuer"`
	Subject        string     `json:"subject,omitempty"`
	SubjectPattern string     `json:"subjectPattern,omitempty"`
	Emails         []string   `json:"emails,omitempty"`
	Roles          []string   `json:"roles,omitempty"`
	NotBefore      *time.Time `json:"notBefore,omitempty"`
	NotAfter       *time.Time `json:"notAfter,omitempty"`
	Now            string     `json:"now"`
}

type shownRule struct {
	Name      string   `json:"name"`
	About     []string `json:"about"`
	Role      string   `json:"role"`
	Threshold int      `json:"threshold"`
	// People hold the role now.
	People []string `json:"people"`
}

type shownForgeKey struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	Fingerprint string `json:"fingerprint"`
}

type shownRevocation struct {
	Identity string     `json:"identity,omitempty"`
	From     *time.Time `json:"from,omitempty"`
	Commit   string     `json:"commit,omitempty"`
	ForgeKey string     `json:"forgeKey,omitempty"`
	Reason   string     `json:"reason,omitempty"`
}

func describePolicy(p *trustpolicy.Policy, now time.Time) shownPolicy {
	s := shownPolicy{
		Version: p.Version, Repository: p.Repository, Digest: p.Digest(),
		Anchor: p.History.Anchor, Committer: p.History.Committer, MaxSkew: span(p.History.MaxSkew), MaxAge: span(p.MaxAge),
		Log: p.Transparency.Log, TimestampAuthority: p.Transparency.TimestampAuthority,
		Identities: []shownIdentity{}, Rules: []shownRule{}, ForgeKeys: []shownForgeKey{}, Revocations: []shownRevocation{},
	}
	for _, id := range p.Identities {
		s.Identities = append(s.Identities, shownIdentity{
			Name: id.Name, Person: id.Person, Issuer: id.Issuer, Subject: id.Subject, SubjectPattern: id.SubjectPattern,
			Emails: id.Emails, Roles: id.Roles, NotBefore: moment(id.NotBefore), NotAfter: moment(id.NotAfter), Now: standing(p, &id, now),
		})
	}
	for i := range p.Rules {
		s.Rules = append(s.Rules, describeRule(p, &p.Rules[i], now))
	}
	for _, k := range p.History.ForgeKeys {
		s.ForgeKeys = append(s.ForgeKeys, shownForgeKey{k.Name, k.Type, k.Fingerprint})
	}
	for _, r := range p.Revocations {
		s.Revocations = append(s.Revocations, shownRevocation{r.Identity, moment(r.From), r.Commit, r.ForgeKey, r.Reason})
	}
	return s
}

func describeRule(p *trustpolicy.Policy, r *trustpolicy.Rule, now time.Time) shownRule {
	shown := shownRule{Name: r.Name, Role: r.Role, Threshold: r.Threshold, People: p.PeopleAt(r.Role, now)}
	for _, pattern := range r.Paths {
		shown.About = append(shown.About, string(pattern))
	}
	for _, overlay := range r.Affects {
		shown.About = append(shown.About, "all that "+overlay+" is made of")
	}
	for _, s := range r.Objects {
		shown.About = append(shown.About, describeSelector(s))
	}
	return shown
}

func describeSelector(s trustpolicy.ObjectSelector) string {
	if s.Set != "" {
		return "objects of the set " + s.Set
	}
	parts := []string{"objects"}
	for _, part := range []struct {
		word  string
		names []string
	}{{"of kind", s.Kinds}, {"in", s.Namespaces}, {"named", s.Names}} {
		if len(part.names) > 0 {
			parts = append(parts, part.word, strings.Join(part.names, "|"))
		}
	}
	return strings.Join(parts, " ")
}

// standing says whether an identity is in force.
func standing(p *trustpolicy.Policy, id *trustpolicy.Identity, now time.Time) string {
	if r, revoked := p.RevokedIdentity(id.Name, now); revoked {
		return "revoked from " + r.From.Format(time.RFC3339)
	}
	switch {
	case now.Before(id.NotBefore):
		return "from " + id.NotBefore.Format(time.RFC3339)
	case !id.InForce(now):
		return "ended " + id.NotAfter.Format(time.RFC3339)
	case !id.NotAfter.IsZero():
		return "until " + id.NotAfter.Format(time.RFC3339)
	}
	return "in force"
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// span writes a duration as a policy would.
func span(d time.Duration) string {
	if d == 0 {
		return ""
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	return strings.Replace(text, "h0m", "h", 1)
}

func (s shownPolicy) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "policy version %d of %s\n%s\n\n", s.Version, s.Repository, s.Digest)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "IDENTITY\tPERSON\tSUBJECT\tISSUER\tROLES\tNOW")
	for _, id := range s.Identities {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", id.Name, dash(id.Person), id.Subject+id.SubjectPattern, id.Issuer, dash(strings.Join(id.Roles, ", ")), id.Now)
	}
	_ = w.Flush()
	b.WriteByte('\n')
	fmt.Fprintln(w, "RULE\tABOUT\tNEEDS")
	for _, r := range s.Rules {
		for i, about := range r.About {
			if i == 0 {
				fmt.Fprintf(w, "%s\t%s\t%s\n", r.Name, about, r.needs())
				continue
			}
			fmt.Fprintf(w, "\t%s\t\n", about)
		}
	}
	_ = w.Flush()
	fmt.Fprintf(&b, "\ncommitter %s, freshness %s, log %s, timestamp authority %s\n", s.Committer, dash(s.MaxAge), s.Log, s.TimestampAuthority)
	for _, k := range s.ForgeKeys {
		fmt.Fprintf(&b, "forge key %s: %s %s\n", k.Name, k.Type, k.Fingerprint)
	}
	for _, r := range s.Revocations {
		fmt.Fprintf(&b, "revoked: %s\n", r.text())
	}
	return b.String()
}

func (r shownRevocation) text() string {
	what := r.Commit
	switch {
	case r.From != nil:
		what = "identity " + r.Identity + " from " + r.From.Format(time.RFC3339)
	case r.ForgeKey != "":
		what = "forge key " + r.ForgeKey
	}
	return what + suffix(": ", r.Reason)
}

// needs says who can satisfy a rule, and how many of them it takes.
func (r shownRule) needs() string {
	return fmt.Sprintf("%d of role %s: %s", r.Threshold, r.Role, dash(strings.Join(r.People, ", ")))
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func suffix(mark, s string) string {
	if s == "" {
		return ""
	}
	return mark + s
}
