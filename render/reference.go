package render

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// resolve makes a path of the tree from what a kustomization in dir names. It
// is decided by the text alone and stricter than kustomize, which fetches what
// looks like a repository even where a directory has that name.
func resolve(at, dir, ref string) (string, error) {
	if ref == "" || !utf8.ValidString(ref) || strings.ContainsFunc(ref, unicode.IsControl) {
		return "", refuse(codeKustomization, at, "%q is not a path", ref)
	}
	if local(ref) {
		return "", refuse(codeOutsideRoot, at, "%q names a place on a machine, not in the repository", ref)
	}
	if remote(ref) {
		return "", refuse(codeRemote, at, "%q is or could be read as the address of a repository or a file elsewhere", ref)
	}
	joined := path.Join(dir, ref)
	if joined == ".." || strings.HasPrefix(joined, "../") {
		return "", refuse(codeOutsideRoot, at, "%q leads out of the repository", ref)
	}
	return joined, nil
}

// local says whether ref is absolute on some system (row D02).
func local(ref string) bool {
	drive := len(ref) > 1 && ref[1] == ':' && (len(ref) == 2 || ref[2] == '/' || ref[2] == '\\')
	return drive || ref[0] == '/' || ref[0] == '~' ||
		strings.Contains(ref, `\`) || strings.HasPrefix(strings.ToLower(ref), "file:")
}

// remote says whether ref could be an address (row D08). A colon, a query and a
// double slash have no place in a path; a user name or GitHub's host in front
// are enough for kustomize to run git.
func remote(ref string) bool {
	first, _, _ := strings.Cut(strings.ToLower(ref), "/")
	return strings.ContainsAny(ref, ":?") || strings.Contains(ref, "//") ||
		strings.Contains(first, "@") || first == "github.com" || first == "www.github.com"
}

// within says whether the path name is below the directory dir.
func within(dir, name string) bool {
	return dir == "." || strings.HasPrefix(name, dir+"/")
}
