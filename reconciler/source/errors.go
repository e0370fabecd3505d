package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
)

// Reasons of this package. All of them mean "could not tell".
const (
	ReasonSourceUnreachable  = "SourceUnreachable"
	ReasonSourceUnauthorized = "SourceUnauthorized"
	ReasonSourceRefMissing   = "SourceRefMissing"
	ReasonSourceUnsupported  = "SourceUnsupported"
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
		return known
	}
	err = redact(err)
	switch {
	case errors.Is(err, transport.ErrAuthenticationRequired), errors.Is(err, transport.ErrAuthorizationFailed),
		errors.Is(err, transport.ErrInvalidAuthMethod), strings.Contains(err.Error(), "unable to authenticate"),
		strings.Contains(err.Error(), "knownhosts:"):
		return refuse(ReasonSourceUnauthorized, err)
	case errors.Is(err, transport.ErrRepositoryNotFound), errors.Is(err, transport.ErrEmptyRemoteRepository):
		return refuse(ReasonSourceRefMissing, err)
	case sha256Names.MatchString(err.Error()):
		return refuse(ReasonSourceUnsupported, fmt.Errorf("the repository names its objects by SHA-256, which go-git v5 cannot read; use a SHA-1 repository: %w", err))
	}
	var netErr net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &netErr) {
		return refuse(ReasonSourceUnreachable, err)
	}
	return refuse(ReasonSourceUnreachable, err)
}

// redact takes user information out of URLs in a transport's message.
func redact(err error) error {
	var urlErr *url.Error
	if !errors.As(err, &urlErr) {
		return err
	}
	if u, perr := url.Parse(urlErr.URL); perr == nil {
		urlErr.URL = u.Redacted()
	}
	return err
}
