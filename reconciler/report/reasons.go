package report

import (
	"cmp"
	"slices"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/tufroot"
	"millwright.dev/millwright/reconciler/plan"
	"millwright.dev/millwright/reconciler/source"
	"millwright.dev/millwright/render"
	"millwright.dev/millwright/render/factory"
	"millwright.dev/millwright/render/policy"
)

// Reason is one row of the table that status, events, the CLI and
// docs/runbook.md share. Every reason has a heading in the runbook.
type Reason struct {
	Reason string
	// Code is the finer stable code; empty where the reason says it all.
	Code  string
	Class Class
	Hint  string
}

// Reasons that this package and the loop give by themselves.
const (
	ReasonSucceeded            = "ReconciliationSucceeded"
	ReasonProgressing          = "Progressing"
	ReasonSuspended            = "Suspended"
	ReasonVerified             = "Verified"
	ReasonPassed               = "Passed"
	ReasonInSync               = "InSync"
	ReasonApplyFailed          = "ApplyFailed"
	ReasonObserveFailed        = "ObserveFailed"
	ReasonRenderUnknown        = "RenderUnknown"
	ReasonVerifyUnknown        = "VerifyUnknown"
	ReasonPolicyUnknown        = "PolicyUnknown"
	ReasonAttestationFailed    = "AttestationFailed"
	ReasonEvidenceHeld         = "EvidenceHeld"
	ReasonAttested             = "Attested"
	ReasonDriftCorrected       = "DriftCorrected"
	ReasonDataLost             = "DataLost"
	ReasonDriftReported        = "DriftReported"
	ReasonHealthUnobserved     = "HealthUnobserved"
	ReasonHealthCheckFailed    = "HealthCheckFailed"
	ReasonHealthy              = "Healthy"
	ReasonTrustedRoot          = "TrustedRootUnavailable"
	ReasonTrustedRootExpired   = "TrustedRootExpired"
	ReasonSpecInvalid          = "SpecInvalid"
	ReasonClusterReplaced      = "ClusterReplaced"
	ReasonClusterUnreachable   = "ClusterUnreachable"
	ReasonChainBroken          = "ChainBroken"
	ReasonControllerIncomplete = "ControllerMisconfigured"
	ReasonSourceStale          = "SourceStale"
	ReasonSourceBehind         = "SourceBehind"
	ReasonRevokedApplied       = "RevokedRevisionApplied"
	// Those that single objects give a revision which is not applied completely.
	ReasonWebhookDeadlock  = "WebhookDeadlock"
	ReasonHealthGateFailed = "HealthGateFailed"
	ReasonHealthGateClosed = "HealthGateClosed"
)

// Reasons lists every reason that is not a success, sorted by reason and code.
func Reasons() []Reason {
	rows := own()
	for _, r := range gitverify.Reasons() {
		rows = append(rows, Reason{Reason: r.Reason, Code: r.Code, Class: No, Hint: r.Hint})
	}
	for _, r := range tufroot.Reasons() {
		rows = append(rows, Reason{Reason: trustReason(r.Code), Code: r.Code, Class: CouldNotTell, Hint: r.Hint})
	}
	for _, r := range render.Reasons() {
		rows = append(rows, Reason{Reason: r.Reason, Code: r.Code, Class: No, Hint: r.Hint})
	}
	slices.SortStableFunc(rows, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Code, b.Code))
	})
	// Verifier and renderer both bound files: one row says it.
	return slices.CompactFunc(rows, func(a, b Reason) bool { return a.Reason == b.Reason && a.Code == b.Code })
}

// trustReason is the reason of a code of the trusted root.
func trustReason(code string) string {
	if code == tufroot.CodeExpired {
		return ReasonTrustedRootExpired
	}
	return ReasonTrustedRoot
}

func own() []Reason {
	return []Reason{
		{factory.Reason, "", No, "mend factory-config/factory.yaml in a signed commit; the message names the field"},
		{policy.ReasonViolation, "", No, "change the object that the message names, or the policy, in a signed commit"},
		{policy.ReasonInvalid, "", No, "mend the policy that the message names in a signed commit"},
		{plan.ReasonPruneLimit, "", No, "delete in several revisions, or raise spec.prune of the Factory on purpose"},
		{source.ReasonSourceUnreachable, "", CouldNotTell, "check the URL, DNS and network between controller and Git server; it is retried"},
		{source.ReasonSourceUnauthorized, "", CouldNotTell, "check the Secret that spec.source.secretRef names; it is retried"},
		{source.ReasonSourceRefMissing, "", CouldNotTell, "push the branch, or correct spec.source.ref; the last applied revision stays in force"},
		{source.ReasonSourceUnsupported, "", CouldNotTell, "use an https, ssh, http or file URL of a SHA-1 repository, and the full name of a branch or a tag"},
		{source.ReasonSourceShallow, "", CouldNotTell, "follow a repository that has its whole history: git fetch --unshallow in the mirror; it is retried"},
		{ReasonSourceStale, "", CouldNotTell, "push a heartbeat (millwright heartbeat) or a new commit; if there is a newer one, find out who holds it back"},
		{ReasonSourceBehind, "", CouldNotTell, "compare the ref at the forge with what the heartbeat names: the forge, a mirror or something in between serves old or other commits"},
		{ReasonRevokedApplied, "", No, "revert the revoked commits in a signed forward commit; what is applied stays until then"},
		{ReasonTrustedRoot, "", CouldNotTell, "put a readable Sigstore trusted_root.json where --trusted-root points; nothing new is accepted without it"},
		{ReasonVerifyUnknown, "", CouldNotTell, "the message names the object that could not be read; the fetch is repeated"},
		{ReasonRenderUnknown, "", CouldNotTell, "the message names what could not be read; it is retried"},
		{ReasonPolicyUnknown, "", CouldNotTell, "the policy process gave no answer; check that --policy-engine points to millwright-policy and its memory"},
		{ReasonObserveFailed, "", CouldNotTell, "the API server did not answer for some kinds; it is retried"},
		{ReasonClusterReplaced, "", No, "check the API server's address; if another cluster is meant, delete the file that the message names"},
		{ReasonClusterUnreachable, "", CouldNotTell, "check that the API server is up and the controller may talk to it; it is retried"},
		{ReasonApplyFailed, "", CouldNotTell, "the message names the objects and the server's words; the rest is applied, and it is retried"},
		{plan.ReasonFight, "", CouldNotTell, "find out why the named field manager writes these fields: stop it, or do not declare them, or list them under ignore in factory.yaml"},
		{plan.ReasonMutated, "", CouldNotTell, "have the webhook or admission policy leave the field alone, declare what it makes of it, or list the field under ignore in factory.yaml"},
		{plan.ReasonImmutableField, "", CouldNotTell, "declare the object under a new name, or permit recreate: true for it in factory.yaml, in a signed commit"},
		{ReasonWebhookDeadlock, "", CouldNotTell, "set failurePolicy: Ignore on the webhook that the message names in a signed commit; take it back when its Service has endpoints"},
		{ReasonHealthGateFailed, "", CouldNotTell, "look at the object that the message names; what does not depend on it is applied"},
		{ReasonHealthGateClosed, "", CouldNotTell, "nothing to do yet: the object that the message names is still on its way"},
		{ReasonHealthCheckFailed, "", CouldNotTell, "look at the objects that the message names"},
		{ReasonAttestationFailed, "", CouldNotTell, "check Fulcio, Rekor and the identity token; the revision stays applied and is attested on the next pass"},
		{ReasonEvidenceHeld, "", CouldNotTell, "restore what the message names; the revision is begun when its verdict is on record, and the one in force is kept meanwhile"},
		{ReasonDataLost, "", CouldNotTell, "find out who deleted it; restore from a backup what nobody declared, such as runs and their results"},
		{ReasonChainBroken, "", No, "an AppliedRevision does not verify, does not link to the one before, or is gone: run millwright audit and find out who wrote it"},
		{ReasonSpecInvalid, "", No, "correct the field of the Factory that the message names"},
		{ReasonControllerIncomplete, "", CouldNotTell, "start the controller with the flag that the message names"},
	}
}

// hintFor finds the hint of a reason that came without one.
func hintFor(reason string) string {
	for _, r := range own() {
		if r.Reason == reason {
			return r.Hint
		}
	}
	return ""
}
