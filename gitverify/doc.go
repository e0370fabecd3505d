// Package gitverify answers one question: is this history signed by people
// we trust?
//
// [New] takes a Sigstore trusted root and gives a [Verifier]. Its Verify takes
// a candidate commit, the pinned anchor that it must descend from, and the
// last applied revision, and gives one of three answers:
//
//   - yes: a [Verification], which lists who signed what and when, and is the
//     only key that opens the commit's tree ([OpenTree]);
//   - no: a [*Refusal] with a stable reason and code, the commit, and what
//     would make it a yes; final until the input changes;
//   - could not tell: any other error (an object that is not there, a store
//     that cannot be read, a cancelled context); try again.
//
// # How a commit is judged
//
// The raw bytes of the object are hashed again (SHA-1 with collision
// detection), split byte for byte, and refused where Git itself would find
// them ambiguous. Tree and parents come from that same split, so what was
// verified is what is used; no object is ever re-encoded (CVE-2026-44309,
// CVE-2026-45022). The signature must be the one that gitsign makes with
// rekorMode=offline: one canonical PEM block, one signer, detached, SHA-256,
// signed attributes, ECDSA P-256, with the transparency log's entry inside.
// Inclusion, checkpoint, promise, timestamp, certificate and its own timestamp
// are then verified against the trusted root, each once, by code of this
// package on top of the standard library (docs/decisions/0004); sigstore-go
// referees it in tests, and decides where the trusted root has parts that the
// code does not know how to use. Nothing is asked of any server, and no clock
// is read: the time of a signature is the log's or the timestamp authority's.
//
// # How a range is judged
//
// The first-parent line from anchor to candidate is walked step by step. Each
// step, with everything it merges on every side, is judged by the policy in
// the tree before it, so nobody can authorise themselves in the commit that
// they sign. The policy file is factory-config/trust/policy.yaml (package
// trustpolicy); when it changes, its version must rise. A forge may make merges
// with a PGP or SSH key that the policy lists (package forgekey), if anybody could
// compute the same merge; such a key does nothing else, and has no trusted time.
//
// # How a tag is judged
//
// Where the followed ref is a tag, the candidate is the tag object. Its own
// signature must be by somebody with the role release, and its name that of the
// ref; the commit that it names is judged as if a branch pointed at it. A
// heartbeat ([Verifier.Heartbeat]) is a tag by somebody with the role heartbeat
// that names the tip they saw; what counts is the proven time of its signature.
// Lightweight tags, tags of tags and tags by a forge key count for nothing.
//
// # What it refuses to do
//
// It does not look an entry up in a log: a commit whose proof is not inside it
// is refused, unless the policy says that the log may be asked and a [LogLookup]
// is there. Then the log's entry of the signature counts, or one over the name of
// the object by the same key, which is what gitsign logs with rekorMode=online;
// the server chooses what is tried, and nothing else. It does not
// accept plain X.509 signatures, PGP or SSH signatures for anything but a
// forge's merge, patterns for identities that are not anchored, shallow history
// inside the range, or a second root. It does not follow replace refs, grafts,
// notes or alternates: it is given object ids and reads objects. It has no
// override.
package gitverify
