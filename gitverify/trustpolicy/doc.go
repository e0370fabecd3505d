// Package trustpolicy is a factory's trust policy as a value: who may sign, what
// needs whose consent, which signatures no longer count. It decodes the one file
// that says so and answers questions about it; it verifies nothing, reads no
// clock and knows no repository. docs/trust-policy.md describes every field.
//
// Decode refuses a file that does not say everything once, in its place and in
// plain YAML: anchors, aliases, tags, a second document, a key that is there
// twice or is unknown or has no value, text that YAML takes for a number. It also
// refuses what can only be a mistake: a threshold that nobody can meet, a role
// that nobody has, an unanchored pattern (row B03), a rule that asks for nothing,
// a revocation of nobody, a window that never opens, and above all a policy whose
// own file nobody could change any more (rule T8; Invalid.Lockout).
//
// Whether names agree is decided on their bytes: no case folding, no
// normalisation, no trimming (row B04). An issuer is always exact (row B34).
package trustpolicy
