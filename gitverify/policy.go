package gitverify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"unicode"

	yaml "go.yaml.in/yaml/v3"
)

// DefaultPolicyPath is where a factory keeps its trust policy.
const DefaultPolicyPath = "factory-config/trust/policy.yaml"

// Bounds on a policy file.
const (
	maxPolicy     = 256 << 10
	maxIdentities = 1000
	maxField      = 512
)

// Policy is a decoded trust policy: who may sign.
type Policy struct {
	// Version only ever rises (rule T8).
	Version int64
	// Repository names the repository that the policy is for (rule T7).
	Repository string
	Identities []PolicyIdentity

	digest string
}

// roleMaintainer may change everything.
const roleMaintainer = "maintainer"

// PolicyIdentity is one listed identity. Issuer and subject are exact; there
// are no patterns.
type PolicyIdentity struct {
	Name    string   `yaml:"name"`
	Person  string   `yaml:"person"`
	Issuer  string   `yaml:"issuer"`
	Subject string   `yaml:"subject"`
	Roles   []string `yaml:"roles"`
}

// Digest is "sha256:<hex>" of the file.
func (p Policy) Digest() string { return p.digest }

type policyDocument struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name string `yaml:"name"`
	} `yaml:"metadata"`
	Spec struct {
		Version    int64            `yaml:"version"`
		Repository string           `yaml:"repository"`
		Identities []PolicyIdentity `yaml:"identities"`
	} `yaml:"spec"`
}

// DecodePolicy reads a trust policy strictly: one document, no anchors, no
// aliases, no tags, no duplicate and no unknown keys. The error is a refusal.
func DecodePolicy(data []byte) (p Policy, err error) {
	defer func() {
		if cause := recover(); cause != nil { // the YAML library has panicked on input before (CVE-2022-28948)
			p, err = Policy{}, refuse(codePolicy, "the file cannot be read as YAML")
		}
	}()
	if len(data) > maxPolicy {
		return Policy{}, refuse(codePolicy, "the file is larger than %d bytes", maxPolicy)
	}
	if err := checkPlainYAML(data); err != nil {
		return Policy{}, err
	}
	var doc policyDocument
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil {
		return Policy{}, refuse(codePolicy, "%v", err)
	}
	if doc.APIVersion != "millwright.dev/v1alpha1" || doc.Kind != "TrustPolicy" {
		return Policy{}, refuse(codePolicy, "not a TrustPolicy of millwright.dev/v1alpha1")
	}
	sum := sha256.Sum256(data)
	p = Policy{
		Version: doc.Spec.Version, Repository: doc.Spec.Repository, Identities: doc.Spec.Identities,
		digest: "sha256:" + hex.EncodeToString(sum[:]),
	}
	if err := p.check(); err != nil {
		return Policy{}, err
	}
	return p, nil
}

// checkPlainYAML lets through one document of maps, lists and scalars that
// says everything once and in its place.
func checkPlainYAML(data []byte) error {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var node yaml.Node
	if err := dec.Decode(&node); err != nil {
		return refuse(codePolicy, "%v", err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return refuse(codePolicy, "more than one YAML document")
	}
	return checkNode(&node, 0)
}

func checkNode(n *yaml.Node, depth int) error {
	switch {
	case depth > 10:
		return refuse(codePolicy, "line %d: nested too deeply", n.Line)
	case n.Kind == yaml.AliasNode, n.Anchor != "":
		return refuse(codePolicy, "line %d: anchors and aliases are not allowed", n.Line)
	case n.Style&yaml.TaggedStyle != 0:
		return refuse(codePolicy, "line %d: tags are not allowed", n.Line)
	}
	seen := map[string]bool{}
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if child.Kind != yaml.ScalarNode || child.Value == "<<" || seen[child.Value] {
				return refuse(codePolicy, "line %d: a key that is there twice, or is not plain text", child.Line)
			}
			seen[child.Value] = true
		}
		if err := checkNode(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// check validates the values.
func (p Policy) check() error {
	switch {
	case p.Version < 1:
		return refuse(codePolicy, "spec.version must be 1 or more")
	case !plainField(p.Repository):
		return refuse(codePolicy, "spec.repository must be a line of text")
	case len(p.Identities) == 0:
		return refuse(codePolicy, "spec.identities is empty, so that nobody could ever sign again")
	case len(p.Identities) > maxIdentities:
		return refuse(codePolicy, "more than %d identities", maxIdentities)
	}
	names, signers := map[string]bool{}, map[[2]string]bool{}
	for i, id := range p.Identities {
		if err := id.check(); err != nil {
			return err
		}
		who := [2]string{id.Issuer, id.Subject}
		if names[id.Name] || signers[who] {
			return refuse(codePolicy, "identity %d (%q): name, or issuer and subject, there twice", i+1, id.Name)
		}
		names[id.Name], signers[who] = true, true
	}
	return nil
}

func (id PolicyIdentity) check() error {
	for _, f := range []string{id.Name, id.Person, id.Issuer, id.Subject} {
		if !plainField(f) {
			return refuse(codePolicy, "identity %q: name, person, issuer and subject must each be a line of text", id.Name)
		}
	}
	for _, f := range []string{id.Issuer, id.Subject} {
		// They are compared as they stand; whoever writes a pattern expects
		// otherwise and would be surprised (row B03).
		if strings.ContainsAny(f, "*^$") {
			return refuse(codePolicy, "identity %q: issuer and subject are exact, patterns are not supported", id.Name)
		}
	}
	// This version has one role. Another one would read like a restriction
	// (viewer) and be none.
	for _, role := range id.Roles {
		if role != roleMaintainer {
			return refuse(codePolicy, "identity %q: role %q is not known; the only role is %s", id.Name, role, roleMaintainer)
		}
	}
	return nil
}

// plainField accepts one bounded line without invisible characters.
func plainField(s string) bool {
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
