package gitverify

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxParents bounds the parents of one commit (row A25); the largest octopus
// merges that people made have about seventy.
const maxParents = 128

// rawCommit is a commit as its bytes say, split once: what is verified is what
// is used.
type rawCommit struct {
	// id is the name of the object, once it was read by it.
	id      ID
	tree    ID
	parents []ID
	// armored is the signature with its continuation spaces taken away; nil
	// when there is none.
	armored []byte
	// payload is what was signed: the commit without its gpgsig header.
	payload []byte
	// email and when are what the committer line claims.
	email string
	when  int64
	// message is all after the headers; encoded says that a header gives its
	// bytes another meaning than UTF-8 (row A21).
	message []byte
	encoded bool
}

// The headers that a commit may have, in the only order that git writes them.
// A signature that is not the last header could be moved about without
// changing what was signed, so that one signed content would have many names.
const (
	rankTree = iota
	rankParent
	rankAuthor
	rankCommitter
	rankEncoding
	rankMergetag
	rankSignature
	rankUnknown
)

func rankOf(key string) int {
	switch key {
	case "tree":
		return rankTree
	case "parent":
		return rankParent
	case "author":
		return rankAuthor
	case "committer":
		return rankCommitter
	case "encoding":
		return rankEncoding
	case "mergetag":
		return rankMergetag
	case "gpgsig":
		return rankSignature
	}
	return rankUnknown
}

// splitCommit splits the body of a commit object, byte for byte. It refuses
// whatever git, go-git or gitsign could read differently from one another
// (GHSA-7rmh-48mx-2vwc, CVE-2026-45022).
func splitCommit(body []byte) (rawCommit, error) {
	if bytes.IndexByte(body, 0) >= 0 {
		return rawCommit{}, refuse(codeMalformed, "a NUL byte in the commit")
	}
	end := bytes.Index(body, []byte("\n\n"))
	if end < 0 {
		return rawCommit{}, refuse(codeMalformed, "no empty line after the headers")
	}
	head := body[:end+1]
	if bytes.IndexByte(head, '\r') >= 0 {
		return rawCommit{}, refuse(codeMalformed, "a carriage return in the headers")
	}
	s := splitter{last: -1}
	for at := 0; at < len(head); {
		next := headerEnd(head, at)
		if err := s.header(head[at:next]); err != nil {
			return rawCommit{}, err
		}
		if s.last == rankSignature {
			s.payload = append(append(make([]byte, 0, len(body)), body[:at]...), body[next:]...)
		}
		at = next
	}
	if !s.seen[rankAuthor] || !s.seen[rankCommitter] { // neither comes before a tree
		return rawCommit{}, refuse(codeMalformed, "author or committer is not there")
	}
	if s.payload == nil {
		s.payload = body
	}
	s.message = body[end+2:]
	return s.rawCommit, nil
}

// headerEnd is the offset after the header at the offset, its continuation
// lines included.
func headerEnd(head []byte, at int) int {
	for {
		at += bytes.IndexByte(head[at:], '\n') + 1
		if at >= len(head) || head[at] != ' ' {
			return at
		}
	}
}

type splitter struct {
	rawCommit
	last int
	seen [rankUnknown]bool
}

// header takes in one header with its line ends.
func (s *splitter) header(line []byte) error {
	key, value, ok := strings.Cut(string(line[:len(line)-1]), " ")
	if !ok {
		return refuse(codeMalformed, "a header line without a value")
	}
	if key == "gpgsig-sha256" {
		// In a SHA-1 repository this header is evidence of nothing, but other
		// tools might take it for some (rows A08, A27).
		return refuse(codeAmbiguous, "a gpgsig-sha256 header")
	}
	rank := rankOf(key)
	if rank == rankUnknown {
		return refuse(codeUnknown, "header %q", key)
	}
	if err := s.order(rank, key); err != nil {
		return err
	}
	if rank != rankMergetag && rank != rankSignature && strings.Contains(value, "\n") {
		return refuse(codeMalformed, "header %q has continuation lines", key)
	}
	s.last, s.seen[rank] = rank, true
	return s.take(rank, value)
}

func (s *splitter) order(rank int, key string) error {
	repeatable := rank == rankParent || rank == rankMergetag
	switch {
	case s.seen[rank] && (rank == rankTree || rank == rankEncoding || rank == rankSignature):
		return refuse(codeDuplicate, "two %q headers", key)
	case rank < s.last, rank == s.last && !repeatable, s.last == -1 && rank != rankTree:
		return refuse(codeMalformed, "header %q in the wrong place or twice", key)
	}
	return nil
}

// identLine is what git writes after author and committer: a name, an address
// in angle brackets, seconds, and a zone.
var identLine = regexp.MustCompile(`^[^<>\n]*<([^<>\n]*)> (0|[1-9][0-9]{0,17}) [+-][0-9]{4}$`)

func (s *splitter) take(rank int, value string) error {
	switch rank {
	case rankTree:
		s.tree = ID(value)
		if !s.tree.valid() {
			return refuse(codeMalformed, "the tree is not a full object name")
		}
	case rankParent:
		return s.parent(ID(value))
	case rankAuthor, rankCommitter:
		return s.ident(rank, value)
	case rankEncoding:
		s.encoded = true
	case rankSignature:
		s.armored = []byte(strings.ReplaceAll(value, "\n ", "\n") + "\n")
	}
	return nil
}

func (s *splitter) ident(rank int, value string) error {
	m := identLine.FindStringSubmatch(value)
	if m == nil {
		return refuse(codeMalformed, "an author or committer line that git would not write")
	}
	when, err := strconv.ParseInt(m[2], 10, 64)
	if err != nil {
		return refuse(codeMalformed, "an author or committer line with an impossible time")
	}
	if rank == rankCommitter {
		s.email, s.when = m[1], when
	}
	return nil
}

func (s *splitter) parent(id ID) error {
	if !id.valid() {
		return refuse(codeMalformed, "a parent is not a full object name")
	}
	if len(s.parents) == maxParents {
		return refuse(codeCommitSize, "more than %d parents", maxParents)
	}
	if slices.Contains(s.parents, id) {
		return refuse(codeMalformed, "parent %s twice", id)
	}
	s.parents = append(s.parents, id)
	return nil
}

// looseParents reads only the parents of a commit that is trusted by its name,
// or that is not judged yet. For every commit that splitCommit accepts, both
// agree.
func looseParents(body []byte) []ID {
	var parents []ID
	first := true
	for line := range strings.Lines(string(body)) {
		value, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "parent ")
		switch {
		case first:
			first = false
		case ok && ID(value).valid() && len(parents) < maxParents:
			parents = append(parents, ID(value))
		default:
			return parents
		}
	}
	return parents
}
