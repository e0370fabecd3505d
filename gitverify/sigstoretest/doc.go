// Package sigstoretest gives tests a Sigstore of their own, in two strengths.
//
// [Virtual] lives inside the process, starts in milliseconds, and can sign
// wrongly in every way that an attacker may try. Use it for all that a verifier
// must refuse.
//
// Both make a trusted_root.json and nothing else that a verifier could need:
// no TUF repository, no environment.
package sigstoretest
