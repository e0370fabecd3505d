package audit

import "millwright.dev/millwright/reconciler/attest"

// Codes of findings that this package makes, beside those of attest (the chain
// and its bundles) and gitverify (the commits).
const (
	CodeExportInvalid   = "export/invalid"
	CodeExportForeign   = "export/foreign-file"
	CodeExportMissing   = "export/missing-file"
	CodeExportTooLarge  = "export/too-large"
	CodeExportHistory   = "export/history"
	CodeBundleTooLarge  = "bundle/too-large"
	CodeStoreUnreadable = "store/unreadable"
	CodeHeadUnknown     = "head/unknown"
	CodeAnchorUnknown   = "source/anchor-unknown"
	CodeAnchor          = "source/anchor"
	CodeSourceMissing   = "source/missing"
	CodeSourceUnproven  = "source/unproven"
	CodeSourceRange     = "source/range"
	CodeSourcePolicy    = "source/policy"
	CodeSourceOrigin    = "source/repository"
	CodeSourceRulings   = "source/rulings"
	CodeSourceEnforced  = "source/enforced"
	CodeRenderMissing   = "render/missing"
	CodeRenderDiffers   = "render/differs"
	CodeRenderFailed    = "render/failed"
	CodeRenderRelease   = "render/other-release"
	CodePermitUnasked   = "permit/unasked"
	CodeVerdictMissing  = "verdicts/missing"
	CodeVerdictOther    = "verdicts/other"
	CodeVerdictLate     = "verdicts/late"
	CodeVerdictFailed   = "verdicts/failed"
	CodeFileDigest      = "files/digest"
	CodeStale           = "freshness/stale"
	CodeNoTime          = "freshness/no-time"
	CodeLiveDiffers     = "live/differs"
	CodeLiveUnknown     = "live/unknown"
	CodeClaimDrift      = "claim/drift"
	CodeClaimOpen       = "claim/open"
)

// Codes lists every code that a report may have, but those of gitverify, which
// has a list of its own.
func Codes() []string {
	return []string{
		CodeExportInvalid, CodeExportForeign, CodeExportMissing, CodeExportTooLarge, CodeExportHistory, CodeBundleTooLarge, CodeStoreUnreadable,
		CodeHeadUnknown, CodeAnchorUnknown, CodeAnchor, CodeSourceMissing, CodeSourceUnproven, CodeSourceRange, CodeSourcePolicy,
		CodeSourceOrigin, CodeSourceRulings, CodeSourceEnforced, CodeRenderMissing, CodeRenderDiffers, CodeRenderFailed, CodeRenderRelease, CodePermitUnasked,
		CodeVerdictMissing, CodeVerdictOther, CodeVerdictLate, CodeVerdictFailed,
		CodeFileDigest, CodeStale, CodeNoTime, CodeLiveDiffers, CodeLiveUnknown, CodeClaimDrift, CodeClaimOpen,
		attest.CodeChainEmpty, attest.CodeChainGap, attest.CodeChainPrevious, attest.CodeChainCluster, attest.CodeChainFactory,
		attest.CodeChainCommit, attest.CodeChainHead, attest.CodeRecordDigest, attest.CodeRecordSequence,
		attest.CodeBundleInvalid, attest.CodeBundleIdentity, attest.CodeBundlePredicate, attest.CodeStatementInvalid,
	}
}
