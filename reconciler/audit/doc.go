// Package audit is the fsck of the factory: it goes again over everything that
// the reconciler left behind, and believes nothing but signatures and what the
// auditor names.
//
//	export file ── Open ──▶ Evidence ── Run ──▶ Report ── Text, HTML, JSON
//	cluster, registry, repository ──▶ Evidence ── Write ──▶ export file
//
// # What it checks
//
//   - chain: every number from 1 on once, each record names the one before, all
//     of one factory in one cluster;
//   - signatures: every bundle, by exactly the signers that the auditor names;
//   - head: the newest record is the one that the auditor knows of. A chain that
//     was cut at its end looks whole, so without that the answer stays open;
//   - source: every range of commits is verified again from the auditor's
//     anchor, under the policy that was in force, and is the range that was
//     signed for;
//   - render: every revision is rendered again and is, bit by bit, the one that
//     was signed for;
//   - permit: those stood behind a change who have to, going by what it affects;
//   - verdicts: what was decided before the first write is signed, is about that
//     revision, came before, and was a yes;
//   - files: manifests and lists that came along are those of the records;
//   - freshness: the newest proven time is not too long ago;
//   - live: the cluster is as the newest record says.
//
// # Three outcomes
//
// Each check, and the audit as a whole, says yes, no, or could not tell. A no is
// a finding with a stable code, the record it is about and what would mend it
// ([Codes], docs/runbook.md). What cannot be checked (an object that is not
// there, a number that nobody named) is never a yes. One bad record does not end
// the audit: it goes on with the rest.
//
// # What it refuses
//
// An export is foreign input. Its size, the number of its files, each of them
// and what its pack unfolds to are bounded; a file that does not belong there, or
// is too large, is named and passed over. Nothing is written outside of the
// folder that the caller gives.
//
// No Kubernetes client is linked here: evidence must be checkable by a program
// that could not talk to a cluster if it wanted to. The comparison with a live
// cluster is made by the caller and handed in as a value.
package audit
