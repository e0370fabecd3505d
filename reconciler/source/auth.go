package source

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"

	fluxgit "github.com/fluxcd/pkg/git"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/http"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

// access is how a remote is spoken to: who we are, and how the server proves
// who it is.
type access struct {
	auth transport.AuthMethod
	tls  *tls.Config
	ssh  *ssh.ClientConfig
}

// authFor turns the data of a credentials Secret, in the layout that Flux uses,
// into an access. SSH without known_hosts is refused: a host that nobody pinned
// could be anybody.
func authFor(r Remote) (access, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return access{}, errors.New("the URL does not parse")
	}
	if u.Scheme == "file" {
		return access{}, nil
	}
	options, err := fluxgit.NewAuthOptions(*u, r.Credentials)
	if err != nil {
		return access{}, fmt.Errorf("reading the credentials: %w", err)
	}
	if u.Scheme == "ssh" {
		config, err := sshAuth(u, options)
		return access{ssh: config}, err
	}
	a := access{}
	switch {
	case options.BearerToken != "":
		a.auth = &http.TokenAuth{Token: options.BearerToken}
	case options.Username != "" || options.Password != "":
		a.auth = &http.BasicAuth{Username: options.Username, Password: options.Password}
	}
	a.tls, err = tlsFor(options.CAFile, options.ClientCert, options.ClientKey)
	return a, err
}

func sshAuth(u *url.URL, options *fluxgit.AuthOptions) (*ssh.ClientConfig, error) {
	signer, err := ssh.ParsePrivateKey(options.Identity)
	if missing := (*ssh.PassphraseMissingError)(nil); errors.As(err, &missing) {
		signer, err = ssh.ParsePrivateKeyWithPassphrase(options.Identity, []byte(options.Password))
	}
	if err != nil {
		return nil, errors.New("the ssh identity does not parse or its password is wrong")
	}
	db, err := knownHosts(options.KnownHosts)
	if err != nil {
		return nil, fmt.Errorf("reading known_hosts: %w", err)
	}
	return &ssh.ClientConfig{
		User: options.Username, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: db.HostKeyCallback(),
		// A host has keys of several kinds; it must show one that is pinned, or
		// an honest host would look like an impostor.
		HostKeyAlgorithms: db.HostKeyAlgorithms(sshAddress(u)),
	}, nil
}

func knownHosts(data []byte) (*knownhosts.HostKeyDB, error) {
	path, remove, err := tempFile(data)
	if err != nil {
		return nil, err
	}
	defer remove()
	return knownhosts.NewDB(path)
}
