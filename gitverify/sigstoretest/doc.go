// Package sigstoretest gives tests a Sigstore of their own, in two strengths.
//
// [Start] runs the real servers (an OpenID issuer each for people and for
// workloads, Fulcio with a certificate transparency log, Rekor, a timestamp
// authority) as child processes on free ports of 127.0.0.1, and the real gitsign
// signs with them. Use it for what must work with everybody's tools, and take
// the one that [Shared] starts per test process.
//
// [Virtual] lives inside the process, starts in milliseconds, and can sign
// wrongly in every way that an attacker may try. Use it for all that a verifier
// must refuse.
//
// Both make a trusted_root.json and nothing else that a verifier could need:
// no TUF repository, no environment.
package sigstoretest
