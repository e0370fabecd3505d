package source

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/go-git/go-git/v5/plumbing/transport"
	"golang.org/x/crypto/ssh/knownhosts"
)

// Reasons of this package. All of them mean "could not tell".
const (
	ReasonSourceUnreachable  = "SourceUnreachable"
	ReasonSourceUnauthorized = "SourceUnauthorized"
	ReasonSourceRefMissing   = "SourceRefMissing"
	ReasonSourceUnsupported  = "SourceUnsupported"
	ReasonSourceShallow      = "SourceShallow"
)

// Error is an inability to fetch, with the reason that status and docs use.
type Error struct {
	Reason string
	Err    error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func refuse(reason string, err error) *Error { return &Error{Reason: reason, Err: err} }

// sha256Names is what a transport reads from a repository with 64-digit names
// when it expects 40: go-git has no word of its own for it.
var sha256Names = regexp.MustCompile(`(?i)object-format=sha256|objectformat|malformed(-| )?(hash|first|ref)|invalid (hash|obj-id|length)|cannot read hash|missing space after hash|object format|unknown extension`)

// classify finds the reason for a transport's error. Text is consulted only
// where the library has no typed error.
func classify(err error) error {
	var known *Error
	if errors.As(err, &known) {
		return &Error{Reason: known.Reason, Err: tell(known)}
	}
	err = tell(err)
	var hostKey *knownhosts.KeyError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return refuse(ReasonSourceUnreachable, err)
	case errors.As(err, &hostKey) && len(hostKey.Want) > 0, strings.Contains(err.Error(), "no common algorithm for host key"):
		return refuse(ReasonSourceUnauthorized, fmt.Errorf("the ssh host shows another key than known_hosts has for it; if it was changed, put the new one there: %w", err))
	case errors.As(err, &hostKey):
		return refuse(ReasonSourceUnauthorized, fmt.Errorf("known_hosts has no key for the ssh host: %w", err))
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed),
		errors.Is(err, transport.ErrInvalidAuthMethod), strings.Contains(err.Error(), "unable to authenticate"),
		strings.Contains(err.Error(), "knownhosts:"):
		return refuse(ReasonSourceUnauthorized, err)
	case errors.Is(err, transport.ErrRepositoryNotFound), errors.Is(err, transport.ErrEmptyRemoteRepository):
		return refuse(ReasonSourceRefMissing, err)
	case sha256Names.MatchString(err.Error()):
		return refuse(ReasonSourceUnsupported, fmt.Errorf("the repository names its objects by SHA-256, which go-git v5 cannot read; use a SHA-1 repository: %w", err))
	}
	return refuse(ReasonSourceUnreachable, err)
}

// told is an error with the text that may be shown.
type told struct {
	err  error
	text string
}

func (t *told) Error() string { return t.text }
func (t *told) Unwrap() error { return t.err }

// userInfo is who a URL in a message says that we are.
var userInfo = regexp.MustCompile(`://[^/@\s"]*@`)

// maxMessage bounds a message, of which the server may have written a part.
const maxMessage = 1 << 10

// tell takes user information out of URLs in a message, and out of what the
// server wrote whatever a terminal or a log would obey (attack row D34).
func tell(err error) error {
	text := userInfo.ReplaceAllString(err.Error(), "://")
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "…"
	}
	return &told{err: err, text: text}
}
