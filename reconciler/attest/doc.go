// Package attest turns what was done to a cluster into evidence that anyone
// can check without us: an in-toto statement of the applied revision, or of how
// it was kept, signed as a Sigstore bundle, stored in an OCI registry as a
// referrer of the rendered manifests, and chained to the statement before it.
// What was decided of a revision before its first write is said in the field's
// own forms, each a [Companion] that the revision's statement names by digest.
//
//	Subjects, Predicate ── NewStatement ──▶ Statement          (pure)
//	Subjects, Enforcement ── NewEnforcement ──▶ Statement      (pure)
//	SourceVerification, Provenance, Verdict ──▶ Companion      (pure)
//	Statement ── Signer.Sign ──▶ Bundle                        (Fulcio, Rekor, timestamp authority)
//	Companion ── Signer.SignCompanion ──▶ Bundle               (Fulcio, timestamp authority)
//	Bundle ── VerifyBundle ──▶ Verified                        (offline)
//	documents ── NewArtifact ──▶ Artifact ── Repository.Push   (OCI registry)
//	Bundle ── Repository.Attach ──▶ referrer of the artifact   (OCI registry)
//	[]Record ── Audit ──▶ Report                               (offline)
//
// The shapes are those of the field: stock cosign v2.6.5 verifies what is
// stored, from the registry and as a blob by the commit's id (docs/attestation.md
// has the command lines; tests run them).
//
// # What it refuses
//
//   - to hand out a bundle that does not verify against the trusted root as
//     exactly the expected identity: what does not verify is never stored;
//   - a statement that is not in canonical form, has an unknown field, is
//     larger than [MaxStatement], or contradicts its own subjects;
//   - any identity but the exact issuer and subject, any predicate type but
//     [PredicateType] and [EnforcementType] in the chain, any bundle older than
//     v0.3;
//   - a level of SLSA that nobody proved;
//   - to put values of Secrets into an artifact, or values of any object into a
//     statement: the predicate's types have no place for them;
//   - to send an identity token or evidence over plain HTTP to anything but a
//     loopback address;
//   - a chain with a gap, a broken link, or a record of another cluster.
//
// # Three outcomes
//
// A definite no is a [*Refusal] (or a finding of [Audit]). Any other error
// means that it could not be told, and is retried.
//
// No Kubernetes client is linked here, not even transitively: evidence must be
// checkable by a program that could not talk to a cluster if it wanted to.
package attest
