package gittest

import (
	"errors"
	"net"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestTheSSHServerRunsOneCommandAndNothingElse(t *testing.T) {
	t.Parallel()
	s := startSSH(t)
	client := dial(t, s, s.Identity)
	for line, want := range map[string]string{
		"git-upload-pack '/factory.git'":      "",
		"git-upload-pack '/none.git'":         "does not appear",
		"git-upload-pack '/../factory.git'":   "only git-upload-pack",
		"git-upload-pack '/.git'":             "only git-upload-pack",
		"git-upload-pack /factory.git":        "only git-upload-pack",
		"git-upload-pack '/factory.git' --x":  "only git-upload-pack",
		"git-upload-pack '/factory.git'; id":  "only git-upload-pack",
		"git-upload-pack '/-x.git' \n id":     "only git-upload-pack",
		"git-receive-pack '/factory.git'":     "only git-upload-pack",
		"git-upload-archive '/factory.git'":   "only git-upload-pack",
		"sh -c 'git-upload-pack \"/x.git\"'":  "only git-upload-pack",
		"git-upload-pack '/factory.git'\x00a": "only git-upload-pack",
	} {
		session, err := client.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		var out, errOut strings.Builder
		session.Stdin, session.Stdout, session.Stderr = strings.NewReader("0000"), &out, &errOut
		err = session.Run(line)
		if want == "" && (err != nil || out.String() != "0000") { // it is empty
			t.Errorf("%q: %v: %q %q", line, err, out.String(), errOut.String())
		}
		var exit *ssh.ExitError
		if want != "" && (!errors.As(err, &exit) || out.Len() > 0 || !strings.Contains(errOut.String(), want)) {
			t.Errorf("%q: %v: %q %q", line, err, out.String(), errOut.String())
		}
	}
	session, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Shell(); err == nil {
		t.Error("there is a shell")
	}
	if _, err := client.Dial("tcp", s.Address()); err == nil {
		t.Error("connections are forwarded")
	}
}

func TestTheSSHServerAcceptsOneKey(t *testing.T) {
	t.Parallel()
	s := startSSH(t)
	stranger, _, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	config := clientConfig(t, stranger)
	if _, err := ssh.Dial("tcp", s.Address(), config); err == nil {
		t.Error("a stranger's key is accepted")
	}
}

func TestOnlyLoopbackAddressesAreListenedAt(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "localhost:0", "none"} {
		if s, err := StartSSHAt(t.Context(), t.TempDir(), address); err == nil {
			s.Stop()
			t.Errorf("%s is listened at", address)
		}
	}
}

func startSSH(t *testing.T) *SSHServer {
	t.Helper()
	web := start(t, Options{})
	if _, err := web.Create(t.Context(), "factory"); err != nil {
		t.Fatal(err)
	}
	s, err := StartSSH(t.Context(), web.Root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func dial(t *testing.T, s *SSHServer, identity []byte) *ssh.Client {
	t.Helper()
	client, err := ssh.Dial("tcp", s.Address(), clientConfig(t, identity))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func clientConfig(t *testing.T, identity []byte) *ssh.ClientConfig {
	t.Helper()
	signer, err := ssh.ParsePrivateKey(identity)
	if err != nil {
		t.Fatal(err)
	}
	return &ssh.ClientConfig{
		User: "git", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: func(string, net.Addr, ssh.PublicKey) error { return nil },
	}
}
