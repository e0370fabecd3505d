package trustpolicy

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
)

// maxVersion bounds a version: it only ever rises, so that a slip of the hand
// could use up all numbers, and beyond 2^53 readers of JSON disagree.
const maxVersion = 1<<53 - 1

// check holds the fields against each other.
func (p *Policy) check(path string) *Invalid {
	switch {
	case p.Version < 1:
		return invalid(0, "spec.version is missing; it must be 1 or more")
	case p.Version > maxVersion:
		return &Invalid{Lockout: true, Detail: "spec.version is so high that soon no later policy could exceed it"}
	case p.Repository == "":
		return invalid(0, "spec.repository is missing")
	case strings.ContainsAny(p.Repository, " "):
		return invalid(0, "spec.repository must have no space: an approval names it as one word")
	case len(p.Identities) == 0:
		return &Invalid{Lockout: true, Detail: "spec.identities is missing, so that nobody could ever sign again"}
	case len(p.Rules) == 0:
		return &Invalid{Lockout: true, Detail: "spec.rules is missing, so that nothing could ever be changed again"}
	}
	for _, step := range []func() *Invalid{p.checkIdentities, p.checkKeys, p.checkRevocations, func() *Invalid { return p.checkRules(path) }} {
		if bad := step(); bad != nil {
			return bad
		}
	}
	return nil
}

func (p *Policy) checkIdentities() *Invalid {
	names, signers := map[string]bool{}, map[[3]string]bool{}
	for i := range p.Identities {
		id := &p.Identities[i]
		if bad := id.check(); bad != nil {
			return bad
		}
		who := [3]string{id.Issuer, id.Subject, id.SubjectPattern}
		switch {
		case names[id.Name]:
			return invalid(id.line, "identity %q: the name is there twice", id.Name)
		case signers[who]:
			return invalid(id.line, "identity %q: issuer and subject are there twice", id.Name)
		}
		names[id.Name], signers[who] = true, true
	}
	return nil
}

func (id *Identity) check() *Invalid {
	switch {
	case id.Name == "" || id.Issuer == "":
		return invalid(id.line, "identity %q: name and issuer must be given", id.Name)
	case (id.Subject == "") == (id.SubjectPattern == ""):
		return invalid(id.line, "identity %q: exactly one of subject and subjectPattern must be given", id.Name)
	// They are compared as they stand; whoever writes a pattern there expects
	// otherwise and would be surprised (rows B03, B34).
	case strings.ContainsAny(id.Issuer, "*^$"):
		return invalid(id.line, "identity %q: the issuer is exact and never a pattern", id.Name)
	case strings.ContainsAny(id.Subject, "*^$"):
		return invalid(id.line, "identity %q: the subject is exact; a pattern goes into subjectPattern", id.Name)
	case !id.NotAfter.IsZero() && !id.NotAfter.After(id.NotBefore):
		return invalid(id.line, "identity %q: notAfter is not after notBefore, so that it is never in force", id.Name)
	}
	if bad := id.checkLists(); bad != nil {
		return bad
	}
	if id.SubjectPattern != "" {
		var bad string
		if id.pattern, bad = compilePattern(id.SubjectPattern); bad != "" {
			return invalid(id.line, "identity %q: subjectPattern %s", id.Name, bad)
		}
	}
	id.Emails = committers(id.Subject, id.Emails)
	return nil
}

func (id *Identity) checkLists() *Invalid {
	for _, email := range id.Emails {
		if local, host, _ := strings.Cut(email, "@"); local == "" || host == "" || strings.ContainsAny(host, "@") || strings.ContainsAny(email, "<>* ") {
			return invalid(id.line, "identity %q: %s is not an e-mail address", id.Name, quote(email))
		}
	}
	for _, role := range id.Roles {
		if role == RoleForge {
			return invalid(id.line, "identity %q: role %s is for forge keys, which are listed in history.forgeKeys", id.Name, role)
		}
		if bad := checkRole(role); bad != "" {
			return invalid(id.line, "identity %q: role %s %s", id.Name, quote(role), bad)
		}
	}
	return nil
}

// checkRole says what is wrong with a role's name. Narrow, so that two roles
// cannot look alike.
func checkRole(role string) string {
	for _, c := range []byte(role) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return "must be of lower-case letters, digits and dashes"
		}
	}
	return ""
}

func (p *Policy) checkRules(path string) *Invalid {
	names := map[string]bool{}
	for i := range p.Rules {
		r := &p.Rules[i]
		if bad := r.check(); bad != nil {
			return bad
		}
		if names[r.Name] {
			return invalid(r.line, "rule %q: the name is there twice", r.Name)
		}
		names[r.Name] = true
	}
	own := p.RulesFor(path)
	if len(own) == 0 {
		return &Invalid{Lockout: true, Detail: "no rule is about " + path + ", so that nobody could change this policy again"}
	}
	for i := range p.Rules {
		if bad := p.reachable(&p.Rules[i]); bad != nil {
			bad.Lockout = slices.Contains(own, &p.Rules[i])
			return bad
		}
	}
	return nil
}

// reachable refuses a threshold that the listed people cannot meet (rule T5).
func (p *Policy) reachable(r *Rule) *Invalid {
	all, able := p.People(r.Role), p.unrevoked(r.Role)
	switch {
	case len(all) == 0:
		return invalid(r.line, "rule %q: no person has role %s", r.Name, r.Role)
	case len(all) < r.Threshold:
		return invalid(r.line, "rule %q: threshold %d is above the number of persons with role %s, %d", r.Name, r.Threshold, r.Role, len(all))
	case len(able) < r.Threshold:
		return invalid(r.line, "rule %q: threshold %d is above the number of persons with role %s who are not revoked, %d", r.Name, r.Threshold, r.Role, len(able))
	}
	return nil
}

func (r *Rule) check() *Invalid {
	kinds := 0
	for _, n := range []int{len(r.Paths), len(r.Affects), len(r.Objects)} {
		if n > 0 {
			kinds++
		}
	}
	switch {
	case r.Name == "":
		return invalid(r.line, "a rule without a name")
	case kinds != 1:
		return invalid(r.line, "rule %q: exactly one of paths, affects and objects must be given", r.Name)
	case r.Threshold < 1:
		return invalid(r.line, "rule %q: threshold must be given and be 1 or more", r.Name)
	case r.Role == "":
		return invalid(r.line, "rule %q: role must be given", r.Name)
	case r.Role == RoleForge || r.Role == RoleHeartbeat || r.Role == RoleRelease:
		return invalid(r.line, "rule %q: role %s is reserved and stands behind no change", r.Name, r.Role)
	}
	if bad := checkRole(r.Role); bad != "" {
		return invalid(r.line, "rule %q: role %s %s", r.Name, quote(r.Role), bad)
	}
	for _, pattern := range r.Paths {
		if bad := checkPath(string(pattern), true); bad != "" {
			return invalid(r.line, "rule %q: the pattern %s %s", r.Name, quote(string(pattern)), bad)
		}
	}
	for _, overlay := range r.Affects {
		if bad := checkPath(overlay, false); bad != "" {
			return invalid(r.line, "rule %q: the overlay %s %s", r.Name, quote(overlay), bad)
		}
	}
	return nil
}

func (p *Policy) checkRevocations() *Invalid {
	known, seen := map[Revocation]bool{}, map[Revocation]bool{}
	for _, id := range p.Identities {
		known[Revocation{Identity: id.Name}] = true
	}
	for _, key := range p.History.ForgeKeys {
		known[Revocation{ForgeKey: key.Name}] = true
	}
	for _, v := range p.Revocations {
		what := Revocation{Identity: v.Identity, Commit: v.Commit, ForgeKey: v.ForgeKey}
		name := v.Identity + v.Commit + v.ForgeKey
		switch {
		case name == "" || name != v.Identity && name != v.Commit && name != v.ForgeKey:
			return invalid(v.line, "a revocation must have exactly one of identity, commit and forgeKey")
		case v.Commit == "" && !known[what]:
			return invalid(v.line, "the revocation of %q: there is no such identity or forge key", name)
		case v.Identity != "" && v.From.IsZero():
			return invalid(v.line, "the revocation of %q: from must be given", name)
		case v.Identity == "" && !v.From.IsZero():
			return invalid(v.line, "the revocation of %s has from, but commits and forge keys are revoked for good", name)
		case seen[what]:
			return invalid(v.line, "the revocation of %q is there twice", name)
		}
		seen[what] = true
	}
	return nil
}

func (p *Policy) checkKeys() *Invalid {
	names, fingerprints := map[string]bool{}, map[string]bool{}
	for _, k := range p.History.ForgeKeys {
		if bad := k.check(); bad != "" {
			return invalid(k.line, "forge key %q: %s", k.Name, bad)
		}
		folded := k.Fingerprint
		if k.Type == KeyPGP {
			folded = strings.ToLower(folded)
		}
		if names[k.Name] || fingerprints[folded] {
			return invalid(k.line, "forge key %q: name or fingerprint there twice", k.Name)
		}
		names[k.Name], fingerprints[folded] = true, true
	}
	return nil
}

func (k ForgeKey) check() string {
	isSSH := strings.HasPrefix(k.Fingerprint, "SHA256:")
	switch {
	case k.Name == "" || k.Type == "" || k.Fingerprint == "" || k.PublicKey == "":
		return "name, type, fingerprint and publicKey must be given"
	case isSSH != (k.Type == KeySSH):
		return "the fingerprint is not one of type " + k.Type
	case k.Type == KeyPGP && !strings.HasPrefix(k.PublicKey, "-----BEGIN PGP PUBLIC KEY BLOCK-----\n"):
		return "publicKey is not an armored PGP public key"
	case k.Type == KeySSH:
		return k.checkSSH()
	}
	return ""
}

// checkSSH holds a line of an authorized_keys file against its fingerprint.
func (k ForgeKey) checkSSH() string {
	fields := strings.Fields(k.PublicKey)
	if len(fields) < 2 || strings.Contains(strings.TrimSpace(k.PublicKey), "\n") {
		return "publicKey is not one line of the form: ssh-ed25519 AAAA…"
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(fields[1])
	if err != nil {
		return "publicKey is not one line of the form: ssh-ed25519 AAAA…"
	}
	sum := sha256.Sum256(blob)
	if have := "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:]); have != k.Fingerprint {
		return "the key's fingerprint is " + have + ", not " + k.Fingerprint
	}
	return ""
}
