package gitverify

import (
	"context"
	"errors"

	"millwright.dev/millwright/gitverify/forgekey"
	"millwright.dev/millwright/gitverify/trustpolicy"
)

// DefaultPolicyPath is where a factory keeps its trust policy.
const DefaultPolicyPath = trustpolicy.DefaultPath

// decoded is what came of reading one policy file.
type decoded struct {
	policy *trustpolicy.Policy
	err    error
}

// maxPolicies bounds the policies that one walk remembers.
const maxPolicies = 256

// policyOf reads the trust policy of a tree. The error is a refusal where the
// file is not a policy that could be in force.
func (w *walk) policyOf(ctx context.Context, tree ID) (*trustpolicy.Policy, ID, error) {
	path := w.options.PolicyPath
	e, err := w.reader.entry(ctx, tree, path)
	switch {
	case err != nil:
		return nil, "", at(path, err)
	case e.id == "":
		return nil, "", at(path, refuse(codePolicy, "the file is not there"))
	case e.mode != modeFile:
		return nil, "", at(path, refuse(codePolicy, "not a regular file"))
	}
	policy, err := w.readPolicy(ctx, e.id)
	return policy, e.id, at(path, err)
}

// readPolicy decodes a policy blob, once.
func (w *walk) readPolicy(ctx context.Context, blob ID) (*trustpolicy.Policy, error) {
	if d, ok := w.policies[blob]; ok {
		return d.policy, d.err
	}
	body, err := w.reader.read(ctx, blob, "blob", trustpolicy.MaxSize, codePolicy)
	if err != nil {
		return nil, err
	}
	var d decoded
	d.policy, d.err = decodePolicy(body, w.options.PolicyPath)
	if len(w.policies) < maxPolicies {
		w.policies[blob] = d
	}
	return d.policy, d.err
}

// decodePolicy turns what is wrong with a file into a refusal.
func decodePolicy(body []byte, path string) (*trustpolicy.Policy, error) {
	policy, err := trustpolicy.Decode(body, path)
	if invalid, ok := errors.AsType[*trustpolicy.Invalid](err); ok {
		code := codePolicy
		if invalid.Lockout {
			code = codeLockout
		}
		return nil, refuse(code, "%s", invalid.Error())
	}
	if err != nil {
		return nil, err
	}
	for _, key := range policy.History.ForgeKeys {
		k := forgekey.Key{Name: key.Name, Type: key.Type, Fingerprint: key.Fingerprint, PublicKey: key.PublicKey}
		if err := forgekey.Check(k); err != nil {
			return nil, refuse(codePolicy, "forge key %q: %v", key.Name, err)
		}
	}
	return policy, nil
}

// statesNone tells a file that states no version from one whose bytes could not
// be had or are not its own.
func statesNone(err error) bool {
	no, ok := errors.AsType[*Refusal](err)
	return ok && (no.Code == codePolicy || no.Code == codeLockout)
}

// at names the file in a refusal.
func at(path string, err error) error {
	no, ok := errors.AsType[*Refusal](err)
	if !ok {
		return err
	}
	named := *no
	named.Path = path
	return &named
}
