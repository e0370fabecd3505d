package audit

import (
	"fmt"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/attest"
)

// FormatVersion and FormatKind name the format of an export: a gzipped tar in
// which the index comes first (docs/auditing.md).
const (
	FormatVersion = "millwright.dev/export/v1"
	FormatKind    = "FactoryExport"
)

// Names of the files in an export.
const (
	indexFile    = "export.json"
	historyFile  = "source.bundle"
	recordsDir   = "records/"
	manifestsDir = "manifests/"
	listsDir     = "lists/"
	verdictsDir  = "verdicts/"
)

// Bounds of an export that is read. All are far above what a factory makes in
// years; without them a file from a stranger could fill a disk.
const (
	maxIndex     = 64 << 20
	maxFiles     = 300_000
	maxHistory   = 1 << 30
	maxUnpacked  = 8 << 30
	maxManifests = 128 << 20
)

// index is the file export.json. Nothing in it is believed: it says where to
// look, and what was said at the place where the export was made.
type index struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Factory    attest.Factory `json:"factory"`
	ClusterUID string         `json:"clusterUID,omitempty"`
	Source     indexSource    `json:"source"`
	// Head is the digest of the newest record as the cluster had it; a hint for
	// people, since who cuts the chain can write it anew.
	Head    string        `json:"head,omitempty"`
	Records []indexRecord `json:"records"`
	// Verdicts are the digests of what was decided before the first writes;
	// Manifests and Lists those of the files that came along.
	Verdicts  []string `json:"verdicts"`
	Manifests []string `json:"manifests"`
	Lists     []string `json:"lists"`
}

type indexSource struct {
	Repository string `json:"repository,omitempty"`
	Ref        string `json:"ref,omitempty"`
	Mainline   string `json:"mainline,omitempty"`
	Anchor     string `json:"anchor,omitempty"`
}

type indexRecord struct {
	Sequence int64  `json:"sequence"`
	Commit   string `json:"commit"`
	Digest   string `json:"digest"`
	Previous string `json:"previous,omitempty"`
	File     string `json:"file"`
}

func noExport(format string, args ...any) error {
	return &attest.Refusal{
		Reason: "AttestationFailed", Code: CodeExportInvalid, Hint: "make the export again with millwright export",
		Detail: line(fmt.Sprintf(format, args...)),
	}
}

// Evidence is what an audit is made on.
type Evidence struct {
	Factory    attest.Factory
	ClusterUID string
	// Repository, Ref, Mainline and Anchor are what the Factory says of its source.
	Repository, Ref, Mainline string
	Anchor                    gitverify.ID
	// Head is the newest record's digest as the cluster has it.
	Head    string
	Records []attest.Record
	// Objects is the history; nil where there is none.
	Objects gitverify.Objects
	// Companions are the bundles that records name as made before the first write,
	// by their digests.
	Companions map[string]string
	// Files are the digests of manifests and lists that came along, by digest;
	// only [Open] fills it, and has compared them with their names.
	Files map[string]bool
	// Damage is what was found wrong while the evidence was gathered.
	Damage []Finding
}

// recordFile is the name of a record's bundle; a number that occurs again, which
// is a finding of the audit and none of the export, gets a name of its own.
func recordFile(sequence int64, again int) string {
	if again > 0 {
		return fmt.Sprintf("%s%010d-%d.json", recordsDir, sequence, again)
	}
	return fmt.Sprintf("%s%010d.json", recordsDir, sequence)
}
