package render

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Refusal is a definite no of the renderer: final until the tree changes.
type Refusal struct {
	// Reason is the CamelCase condition reason, for example "RenderFailed".
	Reason string
	// Code is the finer stable code, for example "render/outside-root".
	Code string
	// Path is the file in the tree, if known.
	Path string
	// Detail says what was found; Hint what would mend it.
	Detail, Hint string
}

// Error is one line without control characters.
func (r *Refusal) Error() string {
	where := ""
	if r.Path != "" {
		where = r.Path + ": "
	}
	return fmt.Sprintf("%s (%s): %s%s; %s", r.Reason, r.Code, where, r.Detail, r.Hint)
}

// The reasons of a Refusal.
const (
	// ReasonFailed: the tree cannot be rendered, or must not be.
	ReasonFailed = "RenderFailed"
	// ReasonLimit: it is larger than what is bearable.
	ReasonLimit = "LimitExceeded"
)

// Reason is one row of the table of refusals.
type Reason struct{ Reason, Code, Hint string }

// The codes of a Refusal.
const (
	codeOutsideRoot   = "render/outside-root"
	codeRemote        = "render/remote"
	codeSymlink       = "render/symlink"
	codeSubmodule     = "render/submodule"
	codeLFS           = "render/lfs"
	codePlugin        = "render/plugin"
	codeUnsupported   = "render/unsupported"
	codeCycle         = "render/cycle"
	codeMissing       = "render/missing"
	codeKustomization = "render/kustomization"
	codeYAML          = "render/yaml"
	codeBuild         = "render/build"
	codePanic         = "render/panic"
	codeObject        = "render/object"
	codeConflict      = "render/conflict"
	codeMetadata      = "render/metadata"
	codeSecret        = "render/secret"

	codeExpansion      = "limits/yaml-expansion"
	codeDepth          = "limits/yaml-depth"
	codeDocuments      = "limits/yaml-documents"
	codeFileSize       = "limits/file-size"
	codeTotalSize      = "limits/total-size"
	codeKustomizations = "limits/kustomizations"
	codeObjectSize     = "limits/object-size"
	codeObjectCount    = "limits/object-count"
)

// Reasons lists every refusal of this package.
func Reasons() []Reason {
	return []Reason{
		{ReasonFailed, codeOutsideRoot, "name files below the directory of the kustomization, and directories inside the repository, by relative paths"},
		{ReasonFailed, codeRemote, "vendor it: commit the files and name them by a relative path; rendering has no network"},
		{ReasonFailed, codeSymlink, "commit the file itself instead of a link to it"},
		{ReasonFailed, codeSubmodule, "commit the files of the submodule; submodules are not fetched"},
		{ReasonFailed, codeLFS, "commit the file itself instead of a Git LFS pointer"},
		{ReasonFailed, codePlugin, "commit what it generates; nothing is executed while rendering"},
		{ReasonFailed, codeUnsupported, "remove the field"},
		{ReasonFailed, codeCycle, "remove the reference that leads back"},
		{ReasonFailed, codeMissing, "commit what is named, or remove the reference"},
		{ReasonFailed, codeKustomization, "mend the kustomization file; `kustomize build` shows the same"},
		{ReasonFailed, codeYAML, "write plain UTF-8 YAML, documents separated by lines of ---, no key twice"},
		{ReasonFailed, codeBuild, "mend what the message names; `kustomize build` of the component shows it in full"},
		{ReasonFailed, codePanic, "kustomize crashed on this component: render it with `kustomize build`, change it, and report the crash"},
		{ReasonFailed, codeObject, "give the object apiVersion, kind and metadata.name, and only values that JSON has"},
		{ReasonFailed, codeConflict, "declare the object once"},
		{ReasonFailed, codeMetadata, "remove the field: only an API server or a controller writes it"},
		{ReasonFailed, codeSecret, "keep the value in a secret store and refer to it; rotate what was committed"},
		{ReasonLimit, codeExpansion, "write the repeated parts out, or use fewer aliases"},
		{ReasonLimit, codeDepth, "nest less"},
		{ReasonLimit, codeDocuments, "split the file"},
		{ReasonLimit, codeFileSize, "split the file"},
		{ReasonLimit, codeTotalSize, "reach fewer or smaller files from the component"},
		{ReasonLimit, codeKustomizations, "refer to fewer bases, or less often to the same one"},
		{ReasonLimit, codeObjectSize, "split the object: an API server does not store one this large"},
		{ReasonLimit, codeObjectCount, "split the factory into several"},
	}
}

// refuse makes a refusal from the table. Detail and path may hold text of the
// repository, so they are made harmless here, once.
func refuse(code, at, format string, args ...any) *Refusal {
	r := &Refusal{Code: code, Path: harmless(at), Detail: harmless(fmt.Sprintf(format, args...))}
	for _, row := range Reasons() {
		if row.Code == code {
			r.Reason, r.Hint = row.Reason, row.Hint
		}
	}
	return r
}

// maxText bounds what a repository can put into a condition or a terminal.
const maxText = 512

// harmless makes one short line of text that a repository wrote: no control
// characters, no newlines, nothing that turns the direction of writing
// (CVE-2021-42574), at most maxText bytes (row D34).
func harmless(text string) string {
	if len(text) > 8*maxText {
		text = text[:8*maxText]
	}
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == utf8.RuneError, !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= maxText {
		return text
	}
	const more = "..."
	cut := maxText - len(more)
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + more
}
