// Package api carries the resource definitions of the millwright.dev group,
// generated from the types in v1alpha1, so that every program that needs them
// in a cluster installs the same bytes.
package api

import "embed"

// CRDs holds one YAML file per kind below crds/.
//
//go:embed crds/*.yaml
var CRDs embed.FS
