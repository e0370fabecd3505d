package render

import "cmp"

// Limits bound what a repository can make the renderer do. Zero fields have the
// default.
type Limits struct {
	// FileBytes bounds one file (16 MiB), TotalBytes all files that kustomize
	// reads for a component, counted each time (64 MiB).
	FileBytes, TotalBytes int64
	// Kustomizations bounds the directories that a component visits, counted
	// each time: a base used twice by two bases is four (500).
	Kustomizations int
	// Documents bounds the YAML documents of a file (5000).
	Documents int
	// Depth bounds the nesting of YAML, with aliases followed (100).
	Depth int
	// AliasNodes and AliasBytes bound what a document grows by when its
	// aliases are expanded (10 000 nodes, 1 MiB).
	AliasNodes, AliasBytes int64
	// ObjectBytes bounds the JSON of an object: 1.5 MiB is etcd's bound on a
	// request. Objects bounds the objects of all components (20 000).
	ObjectBytes, Objects int
}

// DefaultLimits are far above what real factories need and far below what hurts.
func DefaultLimits() Limits { return Limits{}.withDefaults() }

func (l Limits) withDefaults() Limits {
	return Limits{
		FileBytes:      cmp.Or(l.FileBytes, 16<<20),
		TotalBytes:     cmp.Or(l.TotalBytes, 64<<20),
		Kustomizations: cmp.Or(l.Kustomizations, 500),
		Documents:      cmp.Or(l.Documents, 5000),
		Depth:          cmp.Or(l.Depth, 100),
		AliasNodes:     cmp.Or(l.AliasNodes, 10_000),
		AliasBytes:     cmp.Or(l.AliasBytes, 1<<20),
		ObjectBytes:    cmp.Or(l.ObjectBytes, 1536<<10),
		Objects:        cmp.Or(l.Objects, 20_000),
	}
}
