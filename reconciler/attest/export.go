package attest

import (
	"encoding/json"
	"fmt"
)

// ExportAPIVersion and ExportKind name the format of an export.
const (
	ExportAPIVersion = "millwright.dev/v1alpha1"
	ExportKind       = "FactoryExport"
)

// MaxExport bounds an export that is read.
const MaxExport = 512 << 20

// Export is the chain of one factory in one file, for an audit without
// network. Nothing in it is trusted but the signatures.
type Export struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Factory    Factory  `json:"factory"`
	ClusterUID string   `json:"clusterUID,omitempty"`
	Records    []Record `json:"records"`
}

// NewExport makes an export of records.
func NewExport(factory Factory, clusterUID string, records []Record) Export {
	return Export{
		APIVersion: ExportAPIVersion, Kind: ExportKind,
		Factory: factory, ClusterUID: clusterUID, Records: append([]Record{}, records...),
	}
}

// Encode writes the export as indented JSON.
func (e Export) Encode() ([]byte, error) {
	out, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the export: %w", err)
	}
	if len(out) > MaxExport || len(e.Records) > MaxRecords {
		return nil, fmt.Errorf("export is larger than %d bytes or %d records", MaxExport, MaxRecords)
	}
	return append(out, '\n'), nil
}

// DecodeExport reads an export strictly: unknown fields, another version and
// data after the document are refused.
func DecodeExport(data []byte) (Export, error) {
	const hint = "make the export again with millwright of this version"
	if len(data) > MaxExport {
		return Export{}, refuse(CodeExportInvalid, hint, "export of %d bytes is larger than %d", len(data), MaxExport)
	}
	var e Export
	if err := decodeStrict(data, &e); err != nil {
		return Export{}, refuse(CodeExportInvalid, hint, "%v", err)
	}
	if e.APIVersion != ExportAPIVersion || e.Kind != ExportKind {
		return Export{}, refuse(CodeExportInvalid, hint, "it is %s %s and not %s %s", e.APIVersion, e.Kind, ExportAPIVersion, ExportKind)
	}
	if len(e.Records) > MaxRecords {
		return Export{}, refuse(CodeExportInvalid, hint, "more than %d records", MaxRecords)
	}
	for i, r := range e.Records {
		if len(r.Bundle) > MaxBundle {
			return Export{}, refuse(CodeExportInvalid, hint, "record %d has a bundle larger than %d bytes", i, MaxBundle)
		}
	}
	return e, nil
}
