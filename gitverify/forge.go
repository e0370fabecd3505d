package gitverify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"path"

	"millwright.dev/millwright/gitverify/forgekey"
	"millwright.dev/millwright/gitverify/trustpolicy"
)

// judgeForge lets a listed forge key make a merge that adds nothing (rule T6).
// PGP and SSH signatures count for nothing else: nobody but their maker says
// when they were made, and nobody says who holds the key.
func (w *walk) judgeForge(ctx context.Context, r *record, c rawCommit) error {
	policy := w.head().policy
	if len(policy.History.ForgeKeys) == 0 {
		return refuse(codeType, "the signature is PGP or SSH, and the policy lists no forge key")
	}
	key, err := forgekey.Verify(forgeKeys(policy), c.payload, c.armored)
	switch {
	case errors.Is(err, forgekey.ErrUnknownKey):
		return refuse(codeForgeKey, "signed by a key that the policy does not list: %v", err)
	case err != nil:
		return refuse(codeSigInvalid, "the forge's signature does not verify: %v", err)
	}
	r.proof.payload = sha256.Sum256(c.payload)
	r.Payload = "sha256:" + hex.EncodeToString(r.proof.payload[:])
	if no := revocation(policy, r.proof, "", key.Name); no != nil {
		return no
	}
	r.Forge, r.Kind = key.Name, KindMechanical
	return w.checkMechanical(ctx, r)
}

func forgeKeys(policy *trustpolicy.Policy) []forgekey.Key {
	var keys []forgekey.Key
	for _, k := range policy.History.ForgeKeys {
		keys = append(keys, forgekey.Key{Name: k.Name, Type: k.Type, Fingerprint: k.Fingerprint, PublicKey: k.PublicKey})
	}
	return keys
}

// checkMechanical refuses what a forge key may not make.
func (w *walk) checkMechanical(ctx context.Context, r *record) error {
	if len(r.parents) == 1 {
		return refuse(codeForgeContent, "the forge key %q signed a commit with content: a squash, a rebase, or an edit in the browser", r.Forge)
	}
	m, ok, err := w.threeWay(ctx, r)
	if err != nil {
		return err
	}
	if !ok {
		return refuse(codeForgeContent, "the forge key %q signed a merge of more than two branches, or of branches that have no single base", r.Forge)
	}
	paths, err := w.reader.unmechanical(ctx, m)
	if err != nil {
		return err
	}
	if len(paths) > 0 {
		return at(paths[0], refuse(codeForgeContent, "the forge key %q signed a merge that is not mechanical in %d paths: both sides changed them, or neither did", r.Forge, len(paths)))
	}
	trust := path.Dir(w.options.PolicyPath)
	both, err := w.bothTouch(ctx, m, trust)
	if err != nil {
		return err
	}
	if both {
		return at(trust, refuse(codeForgeContent, "both sides of the merge change the trust policy's folder: a person has to merge them"))
	}
	return nil
}

// threeWay are the trees of a merge that could be mechanical: two parents and
// one base.
func (w *walk) threeWay(ctx context.Context, r *record) (threeWay, bool, error) {
	if len(r.parents) != 2 {
		return threeWay{}, false, nil
	}
	bases, err := mergeBases(ctx, descent{w}, r.parents[0], r.parents[1])
	if err != nil || len(bases) != 1 {
		return threeWay{}, false, err
	}
	m := threeWay{got: r.tree}
	if m.base, err = w.treeOf(ctx, bases[0]); err != nil {
		return threeWay{}, false, err
	}
	if m.ours, err = w.treeOf(ctx, r.parents[0]); err != nil {
		return threeWay{}, false, err
	}
	m.theirs, err = w.treeOf(ctx, r.parents[1])
	return m, true, err
}

// bothTouch tells whether both sides of a merge change something at a path.
func (w *walk) bothTouch(ctx context.Context, m threeWay, path string) (bool, error) {
	var at [3]treeEntry
	for i, tree := range []ID{m.base, m.ours, m.theirs} {
		e, err := w.reader.entry(ctx, tree, path)
		if err != nil {
			return false, err
		}
		at[i] = e
	}
	return at[0] != at[1] && at[0] != at[2], nil
}
