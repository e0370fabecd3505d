package trustpolicy

import "strings"

// Pattern names paths by their segments and by the tree's own bytes. The segment
// "**" stands for any number of segments, none included; "*" in a segment stands
// for any run of its bytes. Nothing else is special.
type Pattern string

// anySegments is the one segment that is not of one segment.
const anySegments = "**"

// Match says that the pattern covers the whole path. It goes back to the last
// "**" only, which is enough and keeps it from taking exponential time.
func (p Pattern) Match(path string) bool {
	var (
		pattern, text           = string(p), path
		retryPattern, retryText string
		canRetry                bool
	)
	for {
		segment, rest, more := cutSegment(pattern)
		if more && segment == anySegments {
			pattern, retryPattern, retryText, canRetry = rest, rest, text, true
			continue
		}
		name, after, left := cutSegment(text)
		switch {
		case !more && !left:
			return true
		case more && left && glob(segment, name):
			pattern, text = rest, after
		case canRetry && retryText != ended:
			_, retryText, _ = cutSegment(retryText)
			pattern, text = retryPattern, retryText
		default:
			return false
		}
	}
}

// ended marks the place behind the last segment: no path has a NUL.
const ended = "\x00"

// cutSegment takes the first segment off a path.
func cutSegment(path string) (segment, rest string, ok bool) {
	if path == ended {
		return "", ended, false
	}
	segment, rest, more := strings.Cut(path, "/")
	if !more {
		rest = ended
	}
	return segment, rest, true
}

// glob matches text with a pattern in which "*" is any run of bytes.
func glob(pattern, text string) bool {
	var p, t int
	star, mark := -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && pattern[p] == text[t]:
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// checkPath says what is wrong with a path or pattern of one; patterns are
// allowed if stars is true.
func checkPath(path string, stars bool) string {
	switch {
	case strings.HasPrefix(path, "/"):
		return "must not begin with a slash: paths begin at the repository's root"
	case strings.Contains(path, `\`):
		return "has a backslash, which escapes nothing here"
	case !stars && strings.Contains(path, "*"):
		return "is exact here and must have no *"
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch {
		case segment == "":
			return "has an empty segment"
		case segment == "." || segment == "..":
			return "has the segment " + segment + ", which no tree has"
		case segment != anySegments && strings.Contains(segment, anySegments):
			return "has ** inside a segment; it must be a whole segment"
		}
	}
	return ""
}
