package gittest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// sshDeadline ends every connection: no test takes longer.
const sshDeadline = 2 * time.Minute

// SSHServer serves the repositories of one folder over SSH, to read only, to
// whoever has the one key that it accepts.
//
// It runs git-upload-pack for a repository NAME.git of its folder and nothing
// else: no shell, no other command, no path, no environment, no forwarding.
type SSHServer struct {
	// URL is where the repositories are: URL + "/NAME.git".
	URL string
	// KnownHosts is the line for the host's Ed25519 key. The host has an ECDSA
	// key too, as real ones have, which the line does not name.
	KnownHosts []byte
	// Identity is the private key that is accepted, as OpenSSH writes it.
	Identity []byte

	root     string
	config   *ssh.ServerConfig
	listener net.Listener
	ctx      context.Context // ends what the connections have started
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// StartSSH serves the repositories in root until Stop, on 127.0.0.1.
func StartSSH(ctx context.Context, root string) (*SSHServer, error) {
	return StartSSHAt(ctx, root, "127.0.0.1:0")
}

// StartSSHAt is StartSSH at an address, so that a host can come back there with
// other keys.
func StartSSHAt(ctx context.Context, root, address string) (*SSHServer, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	s := &SSHServer{root: root, config: &ssh.ServerConfig{MaxAuthTries: 3}}
	if err := s.makeIdentity(); err != nil {
		return nil, err
	}
	pinned, err := s.makeHostKeys()
	if err != nil {
		return nil, err
	}
	if s.listener, err = listen(ctx, address); err != nil {
		return nil, err
	}
	at := s.listener.Addr().String()
	s.URL = "ssh://git@" + at
	s.KnownHosts = []byte(knownhosts.Line([]string{knownhosts.Normalize(at)}, pinned) + "\n")
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.running.Go(s.accept)
	return s, nil
}

// RepoURL is the URL of a repository.
func (s *SSHServer) RepoURL(name string) string { return s.URL + "/" + name + ".git" }

// Address is where the server listens.
func (s *SSHServer) Address() string { return s.listener.Addr().String() }

// Stop ends the server and its connections.
func (s *SSHServer) Stop() {
	s.cancel()
	_ = s.listener.Close()
	s.running.Wait()
}

func (s *SSHServer) makeIdentity() error {
	identity, public, err := NewIdentity()
	if err != nil {
		return err
	}
	s.Identity = identity
	s.config.PublicKeyCallback = func(c ssh.ConnMetadata, offered ssh.PublicKey) (*ssh.Permissions, error) {
		if c.User() == "git" && bytes.Equal(offered.Marshal(), public.Marshal()) {
			return &ssh.Permissions{}, nil
		}
		return nil, errors.New("another user or key")
	}
	return nil
}

// NewIdentity makes a private key as OpenSSH writes it, and its public key.
func NewIdentity() ([]byte, ssh.PublicKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		return nil, nil, fmt.Errorf("writing the key: %w", err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("writing the public key: %w", err)
	}
	return pem.EncodeToMemory(block), public, nil
}

// makeHostKeys returns the one that is to be pinned.
func (s *SSHServer) makeHostKeys() (ssh.PublicKey, error) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a host key: %w", err)
	}
	_, pinned, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a host key: %w", err)
	}
	for _, key := range []any{other, pinned} {
		signer, err := ssh.NewSignerFromKey(key)
		if err != nil {
			return nil, fmt.Errorf("using a host key: %w", err)
		}
		s.config.AddHostKey(signer)
	}
	return ssh.NewPublicKey(pinned.Public())
}

func (s *SSHServer) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.running.Go(func() { s.serve(conn) })
	}
}

func (s *SSHServer) serve(conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(s.ctx, func() { conn.Close() })
	defer stop()
	if conn.SetDeadline(time.Now().Add(sshDeadline)) != nil {
		return
	}
	_, channels, requests, err := ssh.NewServerConn(conn, s.config)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for offered := range channels {
		if offered.ChannelType() != "session" {
			_ = offered.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		channel, asked, err := offered.Accept()
		if err != nil {
			return
		}
		s.running.Go(func() { s.session(channel, asked) })
	}
}

// session waits for the one command, refuses everything else, and ends.
func (s *SSHServer) session(channel ssh.Channel, asked <-chan *ssh.Request) {
	defer func() { _ = channel.Close() }() // the client may have been first
	for request := range asked {
		if request.Type != "exec" {
			_ = request.Reply(false, nil)
			continue
		}
		var line struct{ Command string }
		if ssh.Unmarshal(request.Payload, &line) != nil {
			_ = request.Reply(false, nil)
			return
		}
		_ = request.Reply(true, nil)
		go ssh.DiscardRequests(asked)
		status := struct{ Status uint32 }{s.uploadPack(line.Command, channel)}
		_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(&status))
		return
	}
}

// command is all that may be asked for.
var command = regexp.MustCompile(`^git-upload-pack '/([A-Za-z0-9_-][A-Za-z0-9._-]*)\.git'$`)

func (s *SSHServer) uploadPack(line string, channel ssh.Channel) uint32 {
	m := command.FindStringSubmatch(line)
	if m == nil {
		fmt.Fprintf(channel.Stderr(), "fatal: only git-upload-pack of a repository may be asked for\n")
		return 128
	}
	path := filepath.Join(s.root, m[1]+".git")
	if _, err := os.Stat(path); err != nil {
		fmt.Fprintf(channel.Stderr(), "fatal: '/%s.git' does not appear to be a git repository\n", m[1])
		return 128
	}
	cmd := exec.CommandContext(s.ctx, "git", "upload-pack", path)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + s.root}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = channel, channel.Stderr(), time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return 128
	}
	if err := cmd.Start(); err != nil {
		return 128
	}
	go func() {
		_, _ = io.Copy(in, channel) // ends with the channel
		_ = in.Close()
	}()
	if cmd.Wait() != nil {
		return 128
	}
	return 0
}
