package gitverify

// frontier is how far a history has been accepted: the last accepted commit F
// of the trust model, and all that was accepted on the way from the anchor.
// It holds only what follows from the anchor's id, the trusted root and the
// objects' own names, so that using it gives the answer that starting over
// would give.
type frontier struct {
	head, tree ID
	// policy is policy(F), policyBlob the object that it was read from.
	policy     Policy
	policyBlob ID
	// line maps each accepted commit of the first-parent line, the anchor
	// included, to the number of commits checked when it was accepted.
	line map[ID]int
	// seen holds all commits that were judged, and the anchor.
	seen    map[ID]struct{}
	checked []Checked
	// ancestors are the anchor's, read when first needed; they are trusted by
	// the anchor's id.
	ancestors map[ID]struct{}
}

// accept makes a judged step the new head.
func (f *frontier) accept(s step) {
	f.head, f.tree = s.commit, s.tree
	f.policy, f.policyBlob = s.policy, s.policyBlob
}

// verification is the yes for a candidate that is the head.
func (f *frontier) verification(req Request) Verification {
	v := Verification{
		commit: f.head, tree: f.tree, anchor: req.Anchor, ref: req.Ref,
		policyDigest: f.policy.digest, policyVersion: f.policy.Version, repository: f.policy.Repository,
		checked: append([]Checked(nil), f.checked[f.line[req.Floor]:]...), // an absent floor maps to 0: from the anchor
	}
	if n := len(f.checked); f.head != req.Anchor {
		tip := f.checked[n-1] // parents come first, so the tip is the last
		v.tip = &tip
	}
	return v
}
