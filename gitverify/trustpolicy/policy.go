package trustpolicy

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// DefaultPath is where a factory keeps its trust policy.
const DefaultPath = "factory-config/trust/policy.yaml"

// MaxSize bounds the file.
const MaxSize = 256 << 10

// The roles that mean something by themselves; all others mean what the rules
// say.
const (
	RoleForge     = "forge"     // forge keys only (rule T6)
	RoleHeartbeat = "heartbeat" // signs heartbeats (rule T11)
	RoleRelease   = "release"   // signs followed tags (rule T14)
)

// Policy is a decoded trust policy. Only Decode makes one that is checked.
type Policy struct {
	Name string
	// Version only ever rises (rule T8).
	Version int64
	// Repository is the id that an approval names (rule T7).
	Repository string
	Identities []Identity
	Rules      []Rule
	History    History
	// MaxAge is how long an accepted commit or a heartbeat keeps the factory
	// fresh (rule T11); zero: for ever.
	MaxAge       time.Duration
	Revocations  []Revocation
	Transparency Transparency

	digest string
}

// Identity is a listed signer.
type Identity struct {
	// Name is unique in the policy.
	Name string
	// Person is who counts towards a threshold; two identities of one person
	// count once. Empty: a machine, which may sign and never counts (rule T5).
	Person string
	// Issuer is exact.
	Issuer string
	// Subject is exact. It is empty if there is a pattern, except in what
	// Identify returns.
	Subject        string
	SubjectPattern string
	// Emails are the committer addresses that may stand beside this signature
	// (row B07); none: the address is not checked.
	Emails []string
	Roles  []string
	// The window, both ends included, in which a proven signing time must lie.
	NotBefore, NotAfter time.Time

	pattern *regexp.Regexp
	line    int
}

// Rule says how many persons with a role must stand behind a change. Exactly one
// of Paths, Affects and Objects is there.
type Rule struct {
	Name string
	// Paths are where a changed file lies (rule T4).
	Paths []Pattern
	// Affects are overlays whose render closure a change reaches (rule T12).
	Affects []string
	// Objects are rendered objects that a change alters (rule T12).
	Objects   []ObjectSelector
	Role      string
	Threshold int

	line int
}

// Values of History.Committer.
const (
	CommitterMatch = "match" // the committer's address is one of the signer's
	CommitterAny   = "any"
)

// History is what the policy says about commits besides who signed them.
type History struct {
	// Anchor, if there is one, is the pinned anchor or an ancestor of it.
	Anchor    string
	Committer string
	// MaxSkew is how far a committer date may be from the proven signing time
	// (row B14); zero: it is not checked, only warned about.
	MaxSkew   time.Duration
	ForgeKeys []ForgeKey
}

// Values of ForgeKey.Type.
const (
	KeyPGP = "pgp"
	KeySSH = "ssh"
)

// ForgeKey is a key with which a forge makes mechanical merges (rule T6).
type ForgeKey struct {
	Name        string
	Type        string
	Fingerprint string
	PublicKey   string

	line int
}

// Revocation takes back an identity from a time on (rule T9), one commit, or a
// forge key (rule T6).
type Revocation struct {
	Identity string
	From     time.Time
	// ForgeKey names a listed key. It has no time: signatures of forges prove none.
	ForgeKey string
	// Commit is "sha256:<hex>" of what was signed: the commit without its
	// signature.
	Commit string
	Reason string

	line int
}

// Values of Transparency.
const (
	LogOffline        = "offline" // the proof is embedded in the signature
	LogOnline         = "online"  // the log may be asked
	TimestampOptional = "optional"
	TimestampRequired = "required"
)

// Transparency is what a signature must prove of its time.
type Transparency struct {
	Log                string
	TimestampAuthority string
}

// Invalid says why a policy is refused.
type Invalid struct {
	// Line in the file; zero if the mistake is in no one line.
	Line int
	// Lockout says that nobody could change the policy again (rule T8).
	Lockout bool
	Detail  string
}

func (i *Invalid) Error() string {
	if i.Line == 0 {
		return i.Detail
	}
	return fmt.Sprintf("line %d: %s", i.Line, i.Detail)
}

func invalid(line int, format string, args ...any) *Invalid {
	return &Invalid{Line: line, Detail: fmt.Sprintf(format, args...)}
}

// Digest is "sha256:<hex>" of the file.
func (p *Policy) Digest() string { return p.digest }

// HasRole says that the identity holds the role.
func (id *Identity) HasRole(role string) bool { return slices.Contains(id.Roles, role) }

// InForce says that a signature proven at that time lies in the identity's
// window. Revocations are a question of their own.
func (id *Identity) InForce(at time.Time) bool {
	return !at.Before(id.NotBefore) && (id.NotAfter.IsZero() || !at.After(id.NotAfter))
}

// RevokedIdentity finds the revocation of an identity that was in force at that
// time.
func (p *Policy) RevokedIdentity(name string, at time.Time) (Revocation, bool) {
	for _, r := range p.Revocations {
		if r.Identity != "" && r.Identity == name && !at.Before(r.From) {
			return r, true
		}
	}
	return Revocation{}, false
}

// RevokedForgeKey finds the revocation of a forge key.
func (p *Policy) RevokedForgeKey(name string) (Revocation, bool) {
	for _, r := range p.Revocations {
		if r.ForgeKey != "" && r.ForgeKey == name {
			return r, true
		}
	}
	return Revocation{}, false
}

// RevokedCommit finds the revocation of a commit by the digest of what was
// signed.
func (p *Policy) RevokedCommit(payload [32]byte) (Revocation, bool) {
	digest := fmt.Sprintf("sha256:%x", payload)
	for _, r := range p.Revocations {
		if r.Commit == digest {
			return r, true
		}
	}
	return Revocation{}, false
}

// RulesFor lists the rules with a pattern that matches the path.
func (p *Policy) RulesFor(path string) []*Rule {
	return p.rules(func(r *Rule) bool {
		return slices.ContainsFunc(r.Paths, func(pattern Pattern) bool { return pattern.Match(path) })
	})
}

// AffectRules lists the rules that name the overlay.
func (p *Policy) AffectRules(overlay string) []*Rule {
	return p.rules(func(r *Rule) bool { return slices.Contains(r.Affects, overlay) })
}

// ObjectRules lists the rules about rendered objects.
func (p *Policy) ObjectRules() []*Rule {
	return p.rules(func(r *Rule) bool { return len(r.Objects) > 0 })
}

func (p *Policy) rules(wanted func(*Rule) bool) []*Rule {
	var found []*Rule
	for i := range p.Rules {
		if wanted(&p.Rules[i]) {
			found = append(found, &p.Rules[i])
		}
	}
	return found
}

// Overlays lists the overlays that rules name, sorted.
func (p *Policy) Overlays() []string {
	var all []string
	for _, r := range p.Rules {
		all = append(all, r.Affects...)
	}
	return sorted(all)
}

// People lists the distinct persons who hold the role, sorted.
func (p *Policy) People(role string) []string {
	return p.people(func(id *Identity) bool { return id.HasRole(role) })
}

// unrevoked lists those of them who hold the role by an identity that was never
// revoked: only on these can a threshold rest.
func (p *Policy) unrevoked(role string) []string { return p.lasting(role, time.Time{}) }

// lasting lists those who hold the role by an identity that was never revoked and
// whose window is not over at that time.
func (p *Policy) lasting(role string, at time.Time) []string {
	gone := map[string]bool{}
	for _, r := range p.Revocations {
		gone[r.Identity] = true
	}
	return p.people(func(id *Identity) bool {
		over := !id.NotAfter.IsZero() && at.After(id.NotAfter)
		return id.HasRole(role) && !gone[id.Name] && !over
	})
}

// Locked says that from a time on nobody could change the policy at this path
// again (rule T8): who is needed for that was revoked, or is out of force for
// good. [Decode] asks the same without a clock; nil if somebody can.
func (p *Policy) Locked(path string, from time.Time) *Invalid {
	for _, r := range p.RulesFor(path) {
		if left := p.lasting(r.Role, from); len(left) < r.Threshold {
			return &Invalid{Line: r.line, Lockout: true, Detail: fmt.Sprintf(
				"rule %q: it needs %d of role %s, and from %[5]s on only %[4]d are ever in force, so that nobody could change this policy again",
				r.Name, r.Threshold, r.Role, len(left), from.UTC().Format(time.RFC3339))}
		}
	}
	return nil
}

func (p *Policy) people(wanted func(*Identity) bool) []string {
	var all []string
	for i := range p.Identities {
		if id := &p.Identities[i]; id.Person != "" && wanted(id) {
			all = append(all, id.Person)
		}
	}
	return sorted(all)
}

func sorted(all []string) []string {
	slices.Sort(all)
	return slices.Compact(all)
}
