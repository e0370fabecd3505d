package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"golang.org/x/crypto/ssh"
)

// sshSession runs git-upload-pack on the far side. go-git's own transport is
// not used: it ignores the context until the session stands, so that a host
// which accepts and says nothing would hold the loop for ever (attack row E06),
// and it lets ssh_config of the machine choose another host.
type sshSession struct {
	client     *ssh.Client
	remote     *ssh.Session
	stop       func() bool
	stdin      io.WriteCloser
	stdout     io.Reader
	complaints *complaints
}

func dialSSH(ctx context.Context, u *url.URL, with access) (session, error) {
	address := sshAddress(u)
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	s := &sshSession{complaints: &complaints{}}
	// No timeout of its own reaches the handshake; the end of the context does.
	s.stop = context.AfterFunc(ctx, func() { conn.Close() })
	inner, channels, requests, err := ssh.NewClientConn(conn, address, with.ssh)
	if err != nil {
		s.stop()
		conn.Close()
		return nil, err
	}
	s.client = ssh.NewClient(inner, channels, requests)
	if err := s.start(u.Path); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func sshAddress(u *url.URL) string {
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "22")
	}
	return net.JoinHostPort(u.Hostname(), u.Port())
}

func (s *sshSession) start(path string) error {
	var err error
	if s.remote, err = s.client.NewSession(); err != nil {
		return fmt.Errorf("opening an ssh session: %w", err)
	}
	s.remote.Stderr = s.complaints
	if s.stdin, err = s.remote.StdinPipe(); err != nil {
		return err
	}
	if s.stdout, err = s.remote.StdoutPipe(); err != nil {
		return err
	}
	// The far side hands the line to a shell: one word, quoted (attack row E02).
	quoted := "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path) + "'"
	if err := s.remote.Start(transport.UploadPackServiceName + " " + quoted); err != nil {
		return fmt.Errorf("starting git-upload-pack over ssh: %w", err)
	}
	return nil
}

// AdvertisedReferencesContext implements session. The context is that of the
// connection.
func (s *sshSession) AdvertisedReferencesContext(context.Context) (*packp.AdvRefs, error) {
	advertised := packp.NewAdvRefs()
	limit := refuse(ReasonSourceUnsupported, fmt.Errorf("the source lists more than %d bytes of refs", maxAdvertisement))
	// The decoder reads packet by packet and not one byte more.
	err := advertised.Decode(&bounded{ReadCloser: io.NopCloser(s.stdout), left: maxAdvertisement, end: limit})
	switch {
	case errors.Is(err, packp.ErrEmptyInput):
		_ = s.remote.Wait() // until all of its complaints are here
		return nil, s.complaints.asError()
	case errors.Is(err, packp.ErrEmptyAdvRefs), err == nil && advertised.IsEmpty():
		return nil, transport.ErrEmptyRemoteRepository
	case err != nil:
		return nil, err
	}
	transport.FilterUnsupportedCapabilities(advertised.Capabilities)
	return advertised, nil
}

// UploadPack implements session.
func (s *sshSession) UploadPack(_ context.Context, request *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	var ask bytes.Buffer
	if err := request.UploadRequest.Encode(&ask); err != nil {
		return nil, err
	}
	if err := request.UploadHaves.Encode(&ask, false); err != nil {
		return nil, err
	}
	ask.WriteString("0009done\n")
	if _, err := s.stdin.Write(ask.Bytes()); err != nil {
		return nil, fmt.Errorf("asking for the pack: %w", err)
	}
	answer := packp.NewUploadPackResponse(request)
	if err := answer.Decode(io.NopCloser(s.stdout)); err != nil {
		return nil, err
	}
	return answer, nil
}

// Close implements session.
func (s *sshSession) Close() error {
	s.stop()
	return s.client.Close()
}

// complaints keeps the beginning of what the far side writes to its stderr.
type complaints struct {
	mu   sync.Mutex
	text []byte
}

func (c *complaints) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, p[:min(len(p), maxErrorPage-len(c.text))]...)
	return len(p), nil
}

// notFound are the words of Git and of the forges for a repository that is not
// there or not ours to see; the protocol has no code for it.
var notFound = []string{"does not appear to be a git repository", "not found", "could not be found", "does not exist", "no such repository"}

func (c *complaints) asError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := strings.TrimSpace(string(c.text))
	for _, words := range notFound {
		if strings.Contains(strings.ToLower(text), words) {
			return fmt.Errorf("%w: %s", transport.ErrRepositoryNotFound, text)
		}
	}
	if text == "" {
		return errors.New("the ssh server ended without an answer of git-upload-pack")
	}
	return fmt.Errorf("the ssh server says: %s", text)
}
