package trustpolicy

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"unicode"

	yaml "go.yaml.in/yaml/v3"
)

// Bounds on what a policy may have.
const (
	maxIdentities  = 1000
	maxRules       = 500
	maxRevocations = 1000
	maxKeys        = 100
	maxEntries     = 100 // of a list of text
	maxField       = 512
	maxKey         = 64 << 10
)

// Decode reads a trust policy strictly and checks it. The path is where the file
// lies, so that what it asks of its own change can be checked (rule T8). The error
// is always an *Invalid.
func Decode(data []byte, path string) (p *Policy, err error) {
	defer func() {
		if cause := recover(); cause != nil { // the YAML library has panicked on input before (CVE-2022-28948)
			p, err = nil, invalid(0, "the file cannot be read as YAML")
		}
	}()
	if len(data) > MaxSize {
		return nil, invalid(0, "the file is larger than %d bytes", MaxSize)
	}
	if bad := checkVisible(data); bad != nil {
		return nil, bad
	}
	root, bad := plainYAML(data)
	if bad != nil {
		return nil, bad
	}
	p, bad = read(root)
	if bad != nil {
		return nil, bad
	}
	sum := sha256.Sum256(data)
	p.digest = "sha256:" + hex.EncodeToString(sum[:])
	if bad := p.check(path); bad != nil {
		return nil, bad
	}
	return p, nil
}

// read turns the nodes into a policy whose fields are each well formed.
func read(root *yaml.Node) (*Policy, *Invalid) {
	var (
		r                reader
		apiVersion, kind string
		hasSpec          bool
	)
	p := &Policy{
		History:      History{Committer: CommitterMatch},
		Transparency: Transparency{Log: LogOffline, TimestampAuthority: TimestampOptional},
	}
	r.mapping(root, "the policy", keys{
		"apiVersion": r.choice("apiVersion", &apiVersion, "millwright.dev/v1alpha1"),
		"kind":       r.choice("kind", &kind, "TrustPolicy"),
		"metadata": func(n *yaml.Node) {
			r.mapping(n, "metadata", keys{"name": r.text("metadata.name", &p.Name)})
		},
		"spec": func(n *yaml.Node) { hasSpec = true; r.spec(n, p) },
	})
	if r.bad == nil && (apiVersion == "" || kind == "" || !hasSpec) {
		return nil, invalid(root.Line, "not a TrustPolicy of millwright.dev/v1alpha1 with a spec")
	}
	return p, r.bad
}

func (r *reader) spec(n *yaml.Node, p *Policy) {
	r.mapping(n, "spec", keys{
		"version":    r.number("spec.version", &p.Version),
		"repository": r.text("spec.repository", &p.Repository),
		"identities": r.list("spec.identities", maxIdentities, func(n *yaml.Node) { p.Identities = append(p.Identities, r.identity(n)) }),
		"rules":      r.list("spec.rules", maxRules, func(n *yaml.Node) { p.Rules = append(p.Rules, r.rule(n)) }),
		"history":    func(n *yaml.Node) { r.history(n, &p.History) },
		"freshness": func(n *yaml.Node) {
			r.mapping(n, "freshness", keys{"maxAge": r.duration("freshness.maxAge", &p.MaxAge)})
		},
		"revocations": r.list("spec.revocations", maxRevocations, func(n *yaml.Node) { p.Revocations = append(p.Revocations, r.revocation(n)) }),
		"transparency": func(n *yaml.Node) {
			r.mapping(n, "transparency", keys{
				"log":                r.choice("transparency.log", &p.Transparency.Log, LogOffline, LogOnline),
				"timestampAuthority": r.choice("transparency.timestampAuthority", &p.Transparency.TimestampAuthority, TimestampOptional, TimestampRequired),
			})
		},
	})
}

func (r *reader) identity(n *yaml.Node) Identity {
	id := Identity{line: n.Line}
	r.mapping(n, "an identity", keys{
		"name":           r.text("name", &id.Name),
		"person":         r.text("person", &id.Person),
		"issuer":         r.text("issuer", &id.Issuer),
		"subject":        r.text("subject", &id.Subject),
		"subjectPattern": r.text("subjectPattern", &id.SubjectPattern),
		"emails":         r.texts("emails", &id.Emails),
		"roles":          r.texts("roles", &id.Roles),
		"notBefore":      r.moment("notBefore", &id.NotBefore),
		"notAfter":       r.moment("notAfter", &id.NotAfter),
	})
	return id
}

func (r *reader) rule(n *yaml.Node) Rule {
	var (
		rule      = Rule{line: n.Line}
		paths     []string
		threshold int64
	)
	r.mapping(n, "a rule", keys{
		"name":      r.text("name", &rule.Name),
		"paths":     r.texts("paths", &paths),
		"affects":   r.texts("affects", &rule.Affects),
		"objects":   r.list("objects", maxEntries, func(n *yaml.Node) { rule.Objects = append(rule.Objects, r.selector(n)) }),
		"role":      r.text("role", &rule.Role),
		"threshold": r.number("threshold", &threshold),
	})
	for _, path := range paths {
		rule.Paths = append(rule.Paths, Pattern(path))
	}
	rule.Threshold = int(min(threshold, maxIdentities+1)) // more is unreachable anyway, and an int may be small
	return rule
}

func (r *reader) selector(n *yaml.Node) ObjectSelector {
	var s ObjectSelector
	r.mapping(n, "an entry of objects", keys{
		"set":        r.choice("set", &s.Set, Sets()...),
		"kinds":      r.texts("kinds", &s.Kinds),
		"namespaces": r.texts("namespaces", &s.Namespaces),
		"names":      r.texts("names", &s.Names),
	})
	switch patterns := len(s.Kinds) + len(s.Namespaces) + len(s.Names); {
	case s.Set == "" && patterns == 0:
		r.fail(n, "an entry of objects selects nothing: give set, or kinds, namespaces and names")
	case s.Set != "" && patterns > 0:
		r.fail(n, "an entry of objects has set and patterns; make it two entries")
	}
	return s
}

func (r *reader) history(n *yaml.Node, h *History) {
	r.mapping(n, "history", keys{
		"anchor":    r.shaped("history.anchor", "a full commit id in lower-case hex", &h.Anchor, regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)),
		"committer": r.choice("history.committer", &h.Committer, CommitterMatch, CommitterAny),
		"maxSkew":   r.duration("history.maxSkew", &h.MaxSkew),
		"forgeKeys": r.list("history.forgeKeys", maxKeys, func(n *yaml.Node) { h.ForgeKeys = append(h.ForgeKeys, r.forgeKey(n)) }),
	})
}

func (r *reader) forgeKey(n *yaml.Node) ForgeKey {
	k := ForgeKey{line: n.Line}
	r.mapping(n, "a forge key", keys{
		"name":        r.text("name", &k.Name),
		"type":        r.choice("type", &k.Type, KeyPGP, KeySSH),
		"fingerprint": r.shaped("fingerprint", "40 hex digits (pgp) or SHA256:… (ssh)", &k.Fingerprint, regexp.MustCompile(`^([0-9A-Fa-f]{40}|SHA256:[0-9A-Za-z+/]{43})$`)),
		"publicKey":   r.armored("publicKey", &k.PublicKey),
	})
	return k
}

func (r *reader) revocation(n *yaml.Node) Revocation {
	v := Revocation{line: n.Line}
	r.mapping(n, "a revocation", keys{
		"identity": r.text("identity", &v.Identity),
		"from":     r.moment("from", &v.From),
		"forgeKey": r.text("forgeKey", &v.ForgeKey),
		"commit":   r.shaped("commit", "sha256: and 64 lower-case hex digits, as in the audit's payload", &v.Commit, regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)),
		"reason":   r.text("reason", &v.Reason),
	})
	return v
}

// plain accepts one bounded line without invisible characters.
func plain(s string) bool {
	if s == "" || len(s) > maxField || strings.TrimSpace(s) != s {
		return false
	}
	for _, c := range s {
		if !unicode.IsPrint(c) || c == unicode.ReplacementChar {
			return false
		}
	}
	return true
}
